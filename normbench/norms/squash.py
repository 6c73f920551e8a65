"""Functions of single values that take a norm's place: no statistics, and so nothing shared."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from normbench.norms.registry import register_norm
from normbench.norms.running import check_dimensions, spread, wide
from normbench.spec.values import Positive

CLAIMS = {"axes": "nothing", "scope": "none", "same_in_eval": True, "cancels_bias": False}


class _Squash(nn.Module):
    """gamma f(x) + beta, with a trained scalar alpha in f."""

    def __init__(self, num_channels: int, alpha: float) -> None:
        super().__init__()
        self.num_channels = num_channels
        self.alpha = nn.Parameter(torch.tensor(alpha))
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))

    def extra_repr(self) -> str:
        return f"{self.num_channels}"

    def forward(self, x: Tensor) -> Tensor:
        check_dimensions(x)
        y = self.squashed(wide(x))
        return (y * spread(self.weight, x) + spread(self.bias, x)).to(x.dtype)

    def squashed(self, x: Tensor) -> Tensor:
        raise NotImplementedError


@register_norm("dyt", **CLAIMS)
class DynamicTanh(_Squash):
    """Dynamic tanh: y = gamma[c] tanh(alpha x) + beta[c], with one trained alpha for the layer.

    Input (N, C), (N, C, L) or (N, C, H, W). gamma, beta: (C,), alpha: a scalar.

    Source: Zhu et al. 2025, Transformers without normalization (arXiv 2503.10622), section 4 and Algorithm 1.

    Args:
        num_channels: C.
        alpha: First value of alpha.

    Example:
        >>> import torch
        >>> DynamicTanh(2)(torch.tensor([[2.0, -2.0]])).detach()  # tanh(1) and tanh(-1)
        tensor([[ 0.7616, -0.7616]])
    """

    def __init__(self, num_channels: int, alpha: Positive = 0.5) -> None:
        super().__init__(num_channels, alpha)

    def squashed(self, x: Tensor) -> Tensor:
        return torch.tanh(self.alpha * x)


@register_norm("derf", **CLAIMS)
class DynamicErf(_Squash):
    """Dynamic erf: y = gamma[c] erf(alpha x + s) + beta[c], with one trained alpha and s for the layer.

    Input (N, C), (N, C, L) or (N, C, H, W). gamma, beta: (C,), alpha and s (`shift`): scalars; s starts at zero.

    Source: Derf, 2025 (arXiv 2512.10938), section 5, equation 10.

    Args:
        num_channels: C.
        alpha: First value of alpha.

    Example:
        >>> import torch
        >>> DynamicErf(2)(torch.tensor([[2.0, -2.0]])).detach()  # erf(1) and erf(-1)
        tensor([[ 0.8427, -0.8427]])
    """

    def __init__(self, num_channels: int, alpha: Positive = 0.5) -> None:
        super().__init__(num_channels, alpha)
        self.shift = nn.Parameter(torch.tensor(0.0))

    def squashed(self, x: Tensor) -> Tensor:
        return torch.erf(self.alpha * x + self.shift)


@register_norm("dyisru", **CLAIMS)
class DynamicInverseRoot(_Squash):
    """Dynamic inverse square root unit: y = gamma[c] sqrt(C) x / sqrt(|alpha| + x^2) + beta[c].

    RMS norm over C divides sqrt(C) x_i by sqrt(x_i^2 + the sum of the other squares); here that sum is one trained
    number for the layer. It starts at `alpha` times C, the sum of C squares that are `alpha` on average, so that for
    alpha 1 small inputs are left as they are. The absolute value, which the paper does not need, keeps the root real.
    Input (N, C), (N, C, L) or (N, C, H, W). gamma, beta: (C,), alpha: a scalar.

    Source: Stollenwerk 2025 (arXiv 2503.21708), y_i = sqrt(C) x_i / sqrt(beta + x_i^2). Version 2 (section 3,
    equation 15) starts from layer norm and has sqrt(C - 1), which gamma takes up. The code beside it
    (github.com/abcde17/dynamic-activation-functions) leaves sqrt(C) to gamma, adds an eps, and starts beta at 100.

    Args:
        num_channels: C.
        alpha: First value of alpha, divided by C.

    Example:
        >>> import torch
        >>> DynamicInverseRoot(9)(torch.tensor([[4.0] * 9])).detach()[0, 0]  # 3 x 4 / sqrt(9 + 16)
        tensor(2.4000)
    """

    def __init__(self, num_channels: int, alpha: Positive = 1.0) -> None:
        super().__init__(num_channels, alpha * num_channels)

    def squashed(self, x: Tensor) -> Tensor:
        return self.num_channels**0.5 * x * torch.rsqrt(self.alpha.abs() + x.square())
