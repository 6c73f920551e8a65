"""No norm at all."""

from __future__ import annotations

from torch import nn

from normbench.norms.registry import register_norm


@register_norm("none", axes="nothing", scope="none", same_in_eval=True, cancels_bias=False)
class NoNorm(nn.Identity):
    """The identity: y = x. No parameters. The baseline of a study.

    Args:
        num_channels: C; not used.

    Example:
        >>> import torch
        >>> NoNorm(3)(torch.tensor([[1.0, 2.0, 3.0]]))
        tensor([[1., 2., 3.]])
    """

    def __init__(self, num_channels: int) -> None:
        super().__init__()
