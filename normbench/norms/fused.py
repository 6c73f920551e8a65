"""Norm and activation in one: no activation follows these."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from normbench.norms.registry import register_norm
from normbench.norms.running import (
    RunningNorm,
    check_dimensions,
    check_groups,
    check_values,
    position_axes,
    spread,
    wide,
)
from normbench.spec.values import Count, Momentum, Positive


@register_norm("filter_response", axes="(H, W)", scope="sample", same_in_eval=True, cancels_bias=False)
class FilterResponseNorm(nn.Module):
    """Filter response normalization with a thresholded linear unit (FRN + TLU).

    y[n, c] = max(gamma[c] x[n, c] / sqrt(nu2[n, c] + eps + |eps_l[c]|) + beta[c], tau[c]), nu2 the mean of x^2 over
    (H, W): no centring. `eps_l` is trained where `learnable_eps` says so, for maps of one position, and for vectors,
    of which x / sqrt(x^2 + eps) would be the sign otherwise; else it is not there. Input (N, C), (N, C, L) or
    (N, C, H, W). gamma, beta, tau, eps_l: (C,), at first 1, 0, 0 and 1e-4.

    Takes the activation's place, and keeps its own where a model has none: at the end of a branch before `+ x`, behind
    a projection, on the logits.

    Source: Singh & Krishnan 2020 (arXiv 1911.09737), section 3.1, equations 1 and 2; TLU: section 3.1.1, equation 3;
    eps of 1x1 maps: section 3.3.

    Args:
        num_channels: C.
        eps: Added to the mean square.
        learnable_eps: Train a part of it for each channel.

    Example:
        >>> import torch
        >>> FilterResponseNorm(1, learnable_eps=False)(torch.tensor([[[1.0, -7.0]]])).detach()  # the mean square is 25
        tensor([[[0.2000, 0.0000]]])
    """

    replaces_activation = True

    def __init__(self, num_channels: int, eps: Positive = 1e-6, learnable_eps: bool = True) -> None:
        super().__init__()
        self.num_channels, self.eps = num_channels, eps
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))
        self.threshold = nn.Parameter(torch.zeros(num_channels))
        self.extra_eps = nn.Parameter(torch.full((num_channels,), 1e-4)) if learnable_eps else None

    def extra_repr(self) -> str:
        return f"{self.num_channels}, eps={self.eps}"

    def forward(self, x: Tensor) -> Tensor:
        check_dimensions(x)
        y, axes = wide(x), position_axes(x)
        square = y.square()
        size = (square.mean(axes, keepdim=True) if axes else square) + self.eps
        if self.extra_eps is not None:
            size = size + spread(self.extra_eps.abs(), x)
        y = y * torch.rsqrt(size) * spread(self.weight, x) + spread(self.bias, x)
        return torch.maximum(y, spread(self.threshold, x)).to(x.dtype)


@register_norm("evonorm_s0", axes="(C of a group, H, W)", scope="sample", same_in_eval=True, cancels_bias=False)
class EvoNormS0(nn.Module):
    """EvoNorm-S0: swish over the standard deviation of a group of channels, for each image.

    y = gamma[c] x sigmoid(v[c] x) / sqrt(var + eps) + beta[c], var the biased variance over (H, W) and the channels of
    a group. Input (N, C), (N, C, L) or (N, C, H, W). gamma, beta, v: (C,), at first 1, 0 and 1.

    Takes the activation's place, and keeps its own where a model has none: at the end of a branch before `+ x`, behind
    a projection, on the logits.

    Source: Liu et al. 2020 (arXiv 2004.02967), pseudocode in Appendix A; there, groups is 32.

    Args:
        num_channels: C, a multiple of `groups`.
        groups: Number of groups.
        eps: Added to the variance.

    Example:
        >>> import torch
        >>> norm = EvoNormS0(2, groups=1, eps=1e-12)
        >>> norm(torch.tensor([[0.0, 4.0]])).detach()  # the deviation is 2; 4 sigmoid(4) / 2
        tensor([[0.0000, 1.9640]])
    """

    replaces_activation = True

    def __init__(self, num_channels: int, groups: Count = 8, eps: Positive = 1e-5) -> None:
        super().__init__()
        check_groups(groups, num_channels)
        self.num_channels, self.groups, self.eps = num_channels, groups, eps
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))
        self.slope = nn.Parameter(torch.ones(num_channels))

    def extra_repr(self) -> str:
        return f"{self.num_channels}, groups={self.groups}, eps={self.eps}"

    def forward(self, x: Tensor) -> Tensor:
        check_dimensions(x)
        check_values(x, x[0].numel() // self.groups)
        y = wide(x)
        parts = y.reshape(len(x), self.groups, -1)  # the channels of a group follow each other
        root = torch.rsqrt(parts.var(2, correction=0) + self.eps)
        scale = root.repeat_interleave(self.num_channels // self.groups, 1).view(*x.shape[:2], *[1] * (x.dim() - 2))
        y = y * torch.sigmoid(spread(self.slope, x) * y) * scale
        return (y * spread(self.weight, x) + spread(self.bias, x)).to(x.dtype)


@register_norm("evonorm_b0", axes="(N, H, W)", scope="device", same_in_eval=False, cancels_bias=False)
class EvoNormB0(RunningNorm):
    """EvoNorm-B0: x over the larger of the batch's deviation and a line in x and the instance's deviation.

    y = gamma[c] x / max(sqrt(var_batch + eps), v[c] x + sqrt(var_instance + eps)) + beta[c]; both variances are biased,
    over (N, H, W) and over (H, W). Evaluation takes the running average for var_batch, kept as in `batch` (of the
    unbiased variance; the running mean is not used). Input (N, C), (N, C, L) or (N, C, H, W). gamma, beta, v: (C,), at
    first 1, 0 and 1.

    Takes the activation's place, and keeps its own where a model has none: at the end of a branch before `+ x`, behind
    a projection, on the logits.

    Source: Liu et al. 2020 (arXiv 2004.02967), pseudocode in Appendix A.

    Args:
        num_channels: C.
        eps: Added to the variances.
        momentum: Weight of the newest batch in the running averages; null weighs all batches alike.

    Example:
        >>> import torch
        >>> norm = EvoNormB0(1, eps=1e-12)  # below the deviation is 4, the line -4 and 4
        >>> norm(torch.tensor([[-4.0], [4.0]])).detach().flatten().round(decimals=4)
        tensor([-1.,  1.])
    """

    replaces_activation = True

    def __init__(self, num_channels: int, eps: Positive = 1e-5, momentum: Momentum | None = 0.1) -> None:
        super().__init__(num_channels, eps, momentum)
        self.slope = nn.Parameter(torch.ones(num_channels))

    def reset_parameters(self) -> None:
        """Slope one, and as `batch`."""
        super().reset_parameters()
        nn.init.ones_(self.slope)

    def _train(self, x: Tensor) -> Tensor:
        return self._divided(x, self._measured(x)[1])

    def _evaluate(self, x: Tensor) -> Tensor:
        return self._divided(x, self.running_var)

    def _divided(self, x: Tensor, var: Tensor) -> Tensor:
        y, axes = wide(x), position_axes(x)
        own = y.var(axes, correction=0, keepdim=True) if axes else torch.zeros_like(y)
        line = spread(self.slope, x) * y + torch.sqrt(own + self.eps)
        y = y / torch.maximum(spread(torch.sqrt(var + self.eps), x), line)
        return (y * spread(self.weight, x) + spread(self.bias, x)).to(x.dtype)
