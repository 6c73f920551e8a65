"""Norms that leave out a part of batch or layer norm: the centring, or the gradient through the statistics."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from normbench.norms.registry import register_norm
from normbench.norms.running import (
    RunningNorm,
    check_dimensions,
    check_values,
    image_axes,
    spread,
    wide,
)
from normbench.spec.values import NonNegative


@register_norm("rms", axes="(C, H, W)", scope="sample", same_in_eval=True, cancels_bias=False)
class RMSNorm(nn.Module):
    """Root mean square normalization over (C, H, W) of each image, with gamma for each channel.

    y[n, c] = gamma[c] x[n, c] / sqrt(mean of x[n]^2 + eps): `layer` without its centring and without beta.
    Input (N, C), (N, C, L) or (N, C, H, W). gamma: (C,).

    Source: Zhang & Sennrich 2019 (arXiv 1910.07467), section 4, equation 4.

    Args:
        num_channels: C.
        eps: Added to the mean square.

    Example:
        >>> import torch
        >>> RMSNorm(2, eps=0)(torch.tensor([[1.0, 7.0]])).detach()  # the mean square is 25
        tensor([[0.2000, 1.4000]])
    """

    def __init__(self, num_channels: int, eps: NonNegative = 1e-6) -> None:
        super().__init__()
        self.num_channels, self.eps = num_channels, eps
        self.weight = nn.Parameter(torch.ones(num_channels))

    def extra_repr(self) -> str:
        return f"{self.num_channels}, eps={self.eps}"

    def forward(self, x: Tensor) -> Tensor:
        check_dimensions(x)
        check_values(x, x[0].numel())
        y = wide(x)
        y = y * torch.rsqrt(y.square().mean(image_axes(x), keepdim=True) + self.eps)
        return (y * spread(self.weight, x)).to(x.dtype)


@register_norm("simple", axes="(N, H, W)", scope="device", same_in_eval=False, cancels_bias=False)
class SimpleNorm(RunningNorm):
    """Batch normalization without centring: each channel is divided by its standard deviation over (N, H, W).

    y[n, c] = gamma[c] x[n, c] / sqrt(var[c] + eps) + beta[c]; the variance is the biased one, about the mean. Running
    averages, evaluation, shapes and parameters as `batch`. A running mean is kept though it is not used, so that the
    state is that of `batch`.

    Source: variance normalization in Lubana, Dick & Tanaka 2021 (arXiv 2106.05956); Daneshmand et al. 2020 (arXiv
    2003.01652), who study batch norm in this form. Lubana's code keeps the running average of the biased variance;
    here it is the unbiased one's, as of `batch`.

    Args:
        num_channels: C.
        eps: Added to the variance.
        momentum: Weight of the newest batch in the running averages; null weighs all batches alike.

    Example:
        >>> import torch
        >>> SimpleNorm(1, eps=1e-12)(torch.tensor([[1.0], [5.0]])).detach().flatten()  # the deviation is 2
        tensor([0.5000, 2.5000])
    """

    def _train(self, x: Tensor) -> Tensor:
        return self._divided(x, self._measured(x)[1])

    def _evaluate(self, x: Tensor) -> Tensor:
        return self._divided(x, self.running_var)

    def _divided(self, x: Tensor, var: Tensor) -> Tensor:
        scale = self.weight * torch.rsqrt(var + self.eps)
        return (wide(x) * spread(scale, x) + spread(self.bias, x)).to(x.dtype)


@register_norm("detached_batch", axes="(N, H, W)", scope="device", same_in_eval=False, cancels_bias=True)
class DetachedBatchNorm(RunningNorm):
    """Batch normalization whose mean and variance are constants to the gradient.

    Values, running averages, shapes and parameters as `batch`; but dy/dx = gamma / sqrt(var + eps), where batch norm
    takes away the parts along the mean and along x. Some teaching code does this by accident.

    Source: Ioffe & Szegedy 2015 (arXiv 1502.03167), section 2, on why it fails: the bias before it grows without
    bound. Xu et al. 2019 (arXiv 1911.07013) study layer norm so.

    Args:
        num_channels: C.
        eps: Added to the variance; above zero, as torch's kernels demand.
        momentum: Weight of the newest batch in the running averages; null weighs all batches alike.

    Example:
        >>> import torch
        >>> x = torch.tensor([[1.0], [5.0]], requires_grad=True)
        >>> y = DetachedBatchNorm(1, eps=1e-12)(x)
        >>> y.detach().flatten(), torch.autograd.grad(y[0], x)[0].flatten()  # batch norm's gradient would be zero
        (tensor([-1.,  1.]), tensor([0.5000, 0.0000]))
    """

    def _train(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            mean, var = self._measured(x)
        return F.batch_norm(
            x, mean.to(self.weight.dtype), var.to(self.weight.dtype), self.weight, self.bias, eps=self.eps
        )


@register_norm("detached_layer", axes="(C, H, W)", scope="sample", same_in_eval=True, cancels_bias=False)
class DetachedLayerNorm(nn.Module):
    """Layer normalization over (C, H, W) whose mean and variance are constants to the gradient.

    Values, shapes and parameters as `layer`; dy/dx = gamma / sqrt(var + eps).

    Source: DetachNorm in Xu et al. 2019 (arXiv 1911.07013).

    Args:
        num_channels: C.
        eps: Added to the variance.

    Example:
        >>> import torch
        >>> x = torch.tensor([[1.0, 5.0]], requires_grad=True)
        >>> y = DetachedLayerNorm(2, eps=0)(x)
        >>> y.detach(), torch.autograd.grad(y[0, 0], x)[0]  # layer norm's gradient would be zero
        (tensor([[-1.,  1.]]), tensor([[0.5000, 0.0000]]))
    """

    def __init__(self, num_channels: int, eps: NonNegative = 1e-5) -> None:
        super().__init__()
        self.num_channels, self.eps = num_channels, eps
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))

    def extra_repr(self) -> str:
        return f"{self.num_channels}, eps={self.eps}"

    def forward(self, x: Tensor) -> Tensor:
        check_dimensions(x)
        check_values(x, x[0].numel())
        y = wide(x)
        var, mean = torch.var_mean(y.detach(), image_axes(x), correction=0, keepdim=True)
        y = (y - mean) * torch.rsqrt(var + self.eps)
        return (y * spread(self.weight, x) + spread(self.bias, x)).to(x.dtype)
