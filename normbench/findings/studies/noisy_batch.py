"""Batch norm whose outputs are shifted and scaled by noise that changes with each step: Santurkar et al. 2018."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from normbench.norms import build_norm, register_norm

SHIFT, FACTOR = 0.5, 1.25


@register_norm("noisy_batch")
class NoisyBatchNorm(nn.Module):
    """y = s[c] batch norm(x) + m[c], with m uniform in [-0.5, 0.5] and log s in [-log 1.25, log 1.25], anew each step.

    In evaluation it is batch norm.

    Source: Santurkar et al. 2018 (arXiv 1805.11604), section 2.2; the sizes of the noise are from memory.

    Args:
        num_channels: C.
    """

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.norm = build_norm("batch", num_channels)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(x)
        if not self.training:
            return y
        shape = (1, -1) + (1,) * (x.dim() - 2)
        shift, power = (2 * torch.rand(2, x.shape[1], dtype=x.dtype, device=x.device) - 1).unbind()
        return y * (FACTOR**power).view(shape) + (SHIFT * shift).view(shape)
