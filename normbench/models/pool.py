"""Global average pooling that works under deterministic algorithms.

`nn.AdaptiveAvgPool2d(1)` computes the same mean, but its backward pass on CUDA has no deterministic implementation and
raises under `torch.use_deterministic_algorithms(True)`; the mean's has.
"""

from __future__ import annotations

from torch import Tensor, nn


def mean_pool(x: Tensor) -> Tensor:
    """The mean over all positions: (N, C, *positions) -> (N, C). Without positions x itself.

    Example:
        >>> import torch
        >>> mean_pool(torch.ones(2, 3, 4, 4)).shape
        torch.Size([2, 3])
    """
    return x.mean(dim=tuple(range(2, x.dim()))) if x.dim() > 2 else x


class MeanPool(nn.Module):
    """`mean_pool` as a layer: (N, C, *positions) -> (N, C)."""

    def forward(self, x: Tensor) -> Tensor:
        return mean_pool(x)
