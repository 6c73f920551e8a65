"""Normalization by running statistics alone, with a gradient that is put right by running sums of its own."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from normbench.norms.registry import register_norm
from normbench.norms.running import check_dimensions, image_axes, spread, wide
from normbench.spec.values import Momentum, NonNegative, Positive


@register_norm("online_norm", axes="(N, H, W)", scope="device", same_in_eval=False, cancels_bias=False)
class OnlineNorm(nn.Module):
    """Online normalization: each image by statistics of those before it, which it then moves.

    For the images of a batch in their order t, with m[t, c] and s2[t, c] the mean and biased variance of image t over
    (H, W) (its value and 0 for a vector), mu and var the running statistics, at first 0 and 1, and a = `decay`:

        z[t, c] = (x[t, c] - mu[c]) / sqrt(var[c] + eps)
        var[c] <- a var[c] + (1 - a) s2[t, c] + a (1 - a) (m[t, c] - mu[c])^2, then mu[c] <- a mu[c] + (1 - a) m[t, c]

    and y = guard(gamma[c] z + beta[c]). The gradient is not that of this formula, in which the statistics are
    constants: two running sums u and v for each channel, at first 0, keep it at right angles to one and to z in the
    long run. With b = `decay_gradient`, g the gradient that arrives at z[t, c], and averages over (H, W):

        h = g - (1 - b) v[c] z[t, c], then v[c] <- v[c] + mean(h z[t, c])
        dx[t, c] = h / sqrt(var[c] + eps) - (1 - b) u[c], then u[c] <- u[c] + mean(dx[t, c])

    The guard limits what wrong estimates can do from layer to layer: `layer_scaling`, the paper's, divides each image
    by its root mean square over (C, H, W); `clamp`, the default of the authors' code, cuts y off at +-`limit`.
    Evaluation takes the running statistics as they stand. Input (N, C), (N, C, L) or (N, C, H, W). gamma, beta and the
    four running values: (C,). An image depends on those before it in its batch, not on those after it.

    What it does depends on its state: what is measured of it is measured with the first statistics 0 and 1.

    Source: Chiley et al. 2019 (arXiv 1905.05894); the authors' code, github.com/Cerebras/online-normalization, for the
    order of the updates, the clamp and the defaults.

    Args:
        num_channels: C.
        decay: Weight of what was before in the running mean and variance.
        decay_gradient: Likewise in the correction of the gradient.
        eps: Added to the variance, and to the mean square of layer_scaling.
        guard: clamp, layer_scaling or none.
        limit: Of clamp.

    Example:
        >>> import torch
        >>> norm = OnlineNorm(1, decay=0.5, eps=0.0)
        >>> norm(torch.tensor([[[1.0, 3.0]], [[0.0, 2.0]]])).detach()  # by 0 and 1; then by 1 and 2
        tensor([[[ 1.0000,  3.0000]],
        <BLANKLINE>
                [[-0.7071,  0.7071]]])
    """

    running_mean: Tensor
    running_var: Tensor
    gradient_mean: Tensor
    gradient_along: Tensor

    def __init__(
        self,
        num_channels: int,
        decay: Momentum = 0.999,
        decay_gradient: Momentum = 0.99,
        eps: NonNegative = 1e-5,
        guard: Literal["clamp", "layer_scaling", "none"] = "clamp",
        limit: Positive = 5.0,
    ) -> None:
        super().__init__()
        self.num_channels, self.decay, self.decay_gradient, self.eps = num_channels, decay, decay_gradient, eps
        self.guard, self.limit = guard, limit
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))
        self.register_buffer("running_mean", torch.zeros(num_channels))
        self.register_buffer("running_var", torch.ones(num_channels))
        self.register_buffer("gradient_mean", torch.zeros(num_channels))
        self.register_buffer("gradient_along", torch.zeros(num_channels))

    def reset_parameters(self) -> None:
        """Gamma one, beta zero, running values of nothing."""
        nn.init.ones_(self.weight)
        nn.init.zeros_(self.bias)
        self.running_var.fill_(1)
        for running in (self.running_mean, self.gradient_mean, self.gradient_along):
            running.zero_()

    def extra_repr(self) -> str:
        return f"{self.num_channels}, decay={self.decay}, decay_gradient={self.decay_gradient}, guard={self.guard}"

    def forward(self, x: Tensor) -> Tensor:
        check_dimensions(x)
        y = wide(x)
        if self.training:
            mean, scale = self._streamed(y.detach())
            y = _Controlled.apply(y, mean, scale, self.gradient_mean, self.gradient_along, 1 - self.decay_gradient)
        else:
            y = (y - spread(self.running_mean, x)) * spread(torch.rsqrt(self.running_var + self.eps), x)
        y = y * spread(self.weight, x) + spread(self.bias, x)
        if self.guard == "layer_scaling":
            y = y * torch.rsqrt(y.square().mean(image_axes(x), keepdim=True) + self.eps)
        elif self.guard == "clamp":
            y = y.clamp(-self.limit, self.limit)
        return y.to(x.dtype)

    def _streamed(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and 1 / deviation that each image meets, (N, C); moves the running statistics past all images."""
        var, mean = torch.var_mean(x.flatten(2), 2, correction=0) if x.dim() > 2 else (torch.zeros_like(x), x)
        now_mean, now_var, keep = self.running_mean.to(x.dtype), self.running_var.to(x.dtype), self.decay
        met_means, met_vars = [], []
        for own_mean, own_var in zip(mean, var, strict=True):
            met_means.append(now_mean)
            met_vars.append(now_var)
            step = own_mean - now_mean
            now_var = keep * now_var + (1 - keep) * own_var + keep * (1 - keep) * step.square()
            now_mean = now_mean + (1 - keep) * step
        means, scales = torch.stack(met_means), torch.rsqrt(torch.stack(met_vars) + self.eps)
        self.running_mean.copy_(now_mean)  # the first image met these very tensors: not before they are stacked
        self.running_var.copy_(now_var)
        return means, scales


class _Controlled(torch.autograd.Function):
    """(x - mean) scale, with the gradient that the running sums correct. See `OnlineNorm`."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, mean: Tensor, scale: Tensor, gradient_mean: Tensor, gradient_along: Tensor, rate: float
    ) -> Tensor:
        each = (*mean.shape, *[1] * (x.dim() - 2))
        z = (x - mean.view(each)) * scale.view(each)
        ctx.save_for_backward(z, scale)
        ctx.sums, ctx.rate = (gradient_mean, gradient_along), rate
        return z

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        z, scale = ctx.saved_tensors
        flat, arrived = z.flatten(2) if z.dim() > 2 else z[..., None], grads[0].reshape(*z.shape[:2], -1)
        u, v = (running.to(z.dtype) for running in ctx.sums)
        found = []
        for own, gradient, root in zip(flat, arrived, scale, strict=True):
            corrected = gradient - ctx.rate * v[:, None] * own
            v = v + (corrected * own).mean(1)
            corrected = corrected * root[:, None] - ctx.rate * u[:, None]
            u = u + corrected.mean(1)
            found.append(corrected)
        for running, now in zip(ctx.sums, (u, v), strict=True):
            running.copy_(now)
        return torch.stack(found).view(z.shape), None, None, None, None, None
