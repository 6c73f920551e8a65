"""Batch norm that is evaluated with the statistics of the batch at hand: Schneider et al. 2020, Nado et al. 2020."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from normbench.norms import build_norm, register_norm


@register_norm("batch_own")
class OwnStatistics(nn.Module):
    """Batch norm, in training and in evaluation with the statistics of the batch at hand; it trains as batch norm does.

    Source: Nado et al. 2020 (arXiv 2006.10963); Schneider et al. 2020 (arXiv 2006.16971) with all weight on the test
    batch.

    Args:
        num_channels: C.
    """

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.norm = build_norm("batch", num_channels)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(x) if self.training else _standing(self.norm, x)
        return y


def _standing(norm: nn.Module, x: Tensor) -> Tensor:
    weight, bias, eps = norm.weight, norm.bias, norm.eps
    assert isinstance(weight, Tensor)
    assert isinstance(bias, Tensor)
    assert isinstance(eps, float)
    return F.batch_norm(x, None, None, weight, bias, training=True, eps=eps)
