"""Normalization by statistics of the images before, with a gradient that running sums put right."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from normbench.norms.registry import register_norm
from normbench.norms.running import check_dimensions, image_axes, position_axes, spread, wide
from normbench.spec.values import Factor, Positive, Probability


@register_norm("online_norm", scope="past", cancels_bias=False)
class OnlineNorm(nn.Module):
    """Online normalization: each image by statistics of all images before it, which it then moves.

    The images of a batch come one after the other, t = 1, 2, ...; for m[t, c] and s2[t, c], the mean and biased
    variance of image t over (H, W) (of a vector: its value and 0), and running statistics that start at mu[0, c] = 0
    and var[0, c] = 1, with a = `decay`,

        z[t, c] = (x[t, c] - mu[t-1, c]) / sqrt(var[t-1, c] + eps)                                                 (8a)
        mu[t, c] = a mu[t-1, c] + (1 - a) m[t, c]                                                                  (8b)
        var[t, c] = a var[t-1, c] + (1 - a) s2[t, c] + a (1 - a) (m[t, c] - mu[t-1, c])^2                          (8c)

    and y = guard(gamma[c] z + beta[c]). So an image depends on those before it, in its batch and in all batches
    before, and on none after it; a batch of N is the same as N batches of one. Evaluation takes mu and var as they
    stand.

    The gradient is not that of this formula, in which mu and var are constants. Two errors, sums that start at 0, are
    kept small, so that in the long run it is at right angles to z and to one, as that of a normalization has to be.
    With b = `decay_gradient`, z' the gradient that arrives at z, and means over (H, W),

        x''[t, c] = z'[t, c] - (1 - b) e_z[t-1, c] z[t, c]                                                        (11a)
        e_z[t, c] = e_z[t-1, c] + mean(x''[t, c] z[t, c])                                                         (11b)
        x'[t, c] = x''[t, c] / sqrt(var[t-1, c] + eps) - (1 - b) e_1[t-1, c]                                      (12a)
        e_1[t, c] = e_1[t-1, c] + mean(x'[t, c])                                                                  (12b)

    Each backward pass moves the errors once. The recurrences are computed for all images of a batch at once.

    The guard limits what wrong estimates come to over many layers: `layer_scaling`, the paper's, divides each image by
    its root mean square over (C, H, W); `clamp`, which the authors found as good and made the default of their code,
    cuts off at +-`limit`. Input (N, C), (N, C, L) or (N, C, H, W). gamma, beta, mu, var, e_z and e_1: (C,).

    Source: Chiley et al. 2019 (arXiv 1905.05894); numbers of equations as in the authors' code
    (github.com/Cerebras/online-normalization, online-norm/c), from which eps and the means over (H, W) of the errors
    are too. The clamp: their "Error Compensation Mechanism in Online Normalization" (cerebras.net/blog).

    Args:
        num_channels: C.
        decay: a, weight of what was before in the running statistics; below one.
        decay_gradient: b, likewise of the errors; below one.
        eps: Added to the variance, and to the mean square of layer_scaling.
        guard: clamp, layer_scaling or none.
        limit: Of the clamp, from one standard deviation.

    Example:
        >>> import torch
        >>> norm = OnlineNorm(1, decay=0.5, eps=1e-12)
        >>> norm(torch.tensor([[[1.0, 3.0]], [[0.0, 2.0]]])).detach()  # by 0 and 1; then by 1 and 2
        tensor([[[ 1.0000,  3.0000]],
        <BLANKLINE>
                [[-0.7071,  0.7071]]])
    """

    running_mean: Tensor
    running_var: Tensor
    error_along: Tensor
    error_mean: Tensor

    def __init__(
        self,
        num_channels: int,
        decay: Probability = 0.999,
        decay_gradient: Probability = 0.99,
        eps: Positive = 1e-5,
        guard: Literal["clamp", "layer_scaling", "none"] = "clamp",
        limit: Factor = 5.0,
    ) -> None:
        super().__init__()
        self.num_channels, self.decay, self.decay_gradient, self.eps = num_channels, decay, decay_gradient, eps
        self.guard, self.limit = guard, limit
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))
        self.register_buffer("running_mean", torch.zeros(num_channels))
        self.register_buffer("running_var", torch.ones(num_channels))
        self.register_buffer("error_along", torch.zeros(num_channels))
        self.register_buffer("error_mean", torch.zeros(num_channels))

    def reset_parameters(self) -> None:
        """Gamma one, beta zero, statistics of nothing, no errors."""
        nn.init.ones_(self.weight)
        nn.init.zeros_(self.bias)
        self.running_var.fill_(1)
        for zero in (self.running_mean, self.error_along, self.error_mean):
            zero.zero_()

    def extra_repr(self) -> str:
        return (
            f"{self.num_channels}, decay={self.decay}, decay_gradient={self.decay_gradient}, eps={self.eps}, "
            f"guard={self.guard}, limit={self.limit}"
        )

    def forward(self, x: Tensor) -> Tensor:
        check_dimensions(x)
        y = wide(x)
        if self.training:
            mean, scale = self._met(y.detach())
            y = _Controlled.apply(y, mean, scale, self.error_along, self.error_mean, 1 - self.decay_gradient)
        else:
            y = (y - spread(self.running_mean, x)) * spread(torch.rsqrt(self.running_var + self.eps), x)
        y = y * spread(self.weight, x) + spread(self.bias, x)
        if self.guard == "layer_scaling":
            y = y * torch.rsqrt(y.square().mean(image_axes(x), keepdim=True) + self.eps)
        elif self.guard == "clamp":
            y = y.clamp(-self.limit, self.limit)
        return y.to(x.dtype)

    def _met(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and 1 / deviation that each image meets, (N, C); moves the running statistics past all images."""
        own_mean, own_var = _averaged(x), torch.zeros(x.shape[:2], dtype=x.dtype, device=x.device)
        if x.dim() > 2:
            own_var = torch.var(x, position_axes(x), correction=0)
        keep = torch.full_like(own_var, self.decay)
        means = in_order(self.running_mean.to(x.dtype), keep, (1 - self.decay) * own_mean)
        moved = own_var + self.decay * (own_mean - means[:-1]).square()
        variances = in_order(self.running_var.to(x.dtype), keep, (1 - self.decay) * moved)
        self.running_mean.copy_(means[-1])
        self.running_var.copy_(variances[-1])
        return means[:-1], torch.rsqrt(variances[:-1] + self.eps)


class _Controlled(torch.autograd.Function):
    """(x - mean) scale, with the gradient that the errors correct. See `OnlineNorm`."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, mean: Tensor, scale: Tensor, along: Tensor, of_mean: Tensor, rate: float
    ) -> Tensor:
        z = (x - _each(mean, x)) * _each(scale, x)
        ctx.save_for_backward(z, scale)
        ctx.errors, ctx.rate = (along, of_mean), rate  # as they will be in the backward pass, not as they are now
        return z

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Any:
        z, scale = ctx.saved_tensors
        (g,) = grads
        along, of_mean = (error.to(z.dtype) for error in ctx.errors)
        # The means over positions of (11) and (12): linear in the errors, so one pair of numbers an image suffices.
        along = in_order(along, 1 - ctx.rate * _averaged(z.square()), _averaged(g * z))
        corrected = g - ctx.rate * _each(along[:-1], z) * z
        of_mean = in_order(of_mean, torch.full_like(scale, 1 - ctx.rate), _averaged(corrected) * scale)
        for error, now in zip(ctx.errors, (along, of_mean), strict=True):
            error.copy_(now[-1])
        return corrected * _each(scale, z) - ctx.rate * _each(of_mean[:-1], z), *[None] * 5


def in_order(first: Tensor, keep: Tensor, new: Tensor) -> Tensor:
    """state[t] = keep[t] state[t-1] + new[t] for all t at once, in log2(N) steps of doubling.

    Args:
        first: state[0], (C,).
        keep: (N, C).
        new: (N, C).

    Returns:
        state[0] to state[N], (N + 1, C).

    Example:
        >>> import torch
        >>> in_order(torch.tensor([8.0]), torch.full((3, 1), 0.5), torch.tensor([[1.0], [2.0], [0.0]])).flatten()
        tensor([8.0000, 5.0000, 4.5000, 2.2500])
    """
    state, kept, step = torch.cat([first[None], new]), torch.cat([torch.ones_like(first[None]), keep]), 1
    while step < len(state):  # each knows what the last `step` images did, and joins those that did the `step` before
        state = torch.cat([state[:step], state[step:] + kept[step:] * state[:-step]])
        kept = torch.cat([kept[:step], kept[step:] * kept[:-step]])
        step *= 2
    return state


def _averaged(x: Tensor) -> Tensor:
    """Means over positions, (N, C)."""
    return x.mean(position_axes(x)) if x.dim() > 2 else x


def _each(values: Tensor, x: Tensor) -> Tensor:
    """(N, C) so that it spreads over (N, C, ...)."""
    return values.view(*values.shape, *[1] * (x.dim() - 2))
