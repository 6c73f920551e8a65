"""Normalization by statistics of the images before, with a gradient that running sums put right."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from normbench.norms.registry import register_norm
from normbench.norms.running import check_dimensions, image_axes, position_axes, spread, wide
from normbench.spec.values import Count, Factor, Positive, Probability


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

    Every device has a stream of its own, which begins each batch where that of the first device stands (a run on
    several devices hands it over). With `virtual_devices` a batch is divided into as many consecutive parts, which do
    the same.

    The guard limits what wrong estimates come to over many layers: `layer_scaling`, the paper's, divides each image by
    its root mean square over (C, H, W); `clamp`, which the authors found as good and made the default of their code,
    cuts off at +-`limit`. Input (N, C), (N, C, L) or (N, C, H, W). gamma, beta, mu, var, e_z and e_1: (C,).

    Source: Chiley et al. 2019 (arXiv 1905.05894); numbers of equations as in the authors' code
    (github.com/Cerebras/online-normalization, online-norm/c); eps and the means over (H, W) of the errors as in its
    numpy_on and pytorch. The clamp: their "Error Compensation Mechanism in Online Normalization" (cerebras.net/blog).

    Args:
        num_channels: C.
        decay: a, weight of what was before in the running statistics; below one.
        decay_gradient: b, likewise of the errors; below one.
        eps: Added to the variance, and to the mean square of layer_scaling.
        guard: clamp, layer_scaling or none.
        limit: Of the clamp, from one standard deviation.
        virtual_devices: Compute as so many data-parallel devices would; in training they divide N.

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
        virtual_devices: Count = 1,
    ) -> None:
        super().__init__()
        self.num_channels, self.decay, self.decay_gradient, self.eps = num_channels, decay, decay_gradient, eps
        self.guard, self.limit, self.virtual_devices = guard, limit, virtual_devices
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
        virtual = f", virtual_devices={self.virtual_devices}" if self.virtual_devices > 1 else ""
        return (
            f"{self.num_channels}, decay={self.decay}, decay_gradient={self.decay_gradient}, eps={self.eps}, "
            f"guard={self.guard}, limit={self.limit}{virtual}"
        )

    def forward(self, x: Tensor) -> Tensor:
        check_dimensions(x)
        y = wide(x)
        if self.training:
            if len(x) % self.virtual_devices:
                raise ValueError(f"a batch of {len(x)} images cannot be divided among {self.virtual_devices} devices")
            y = _Controlled.apply(
                y,
                *(parameter.to(y.dtype) for parameter in (self.weight, self.bias)),
                *self._statistics(y.detach()),
                *(self.error_along, self.error_mean),
                1 - self.decay_gradient,
                self.virtual_devices,
            )
        else:
            y = (y - spread(self.running_mean, x)) * spread(torch.rsqrt(self.running_var + self.eps), x)
            y = y * spread(self.weight, x) + spread(self.bias, x)
        if self.guard == "layer_scaling":
            y = y * torch.rsqrt(y.square().mean(image_axes(x), keepdim=True) + self.eps)
        elif self.guard == "clamp":
            y = y.clamp(-self.limit, self.limit)
        return y.to(x.dtype)

    def _statistics(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Mean and 1 / deviation that each image meets, (N, C), and mean and mean square of what it becomes by them.

        Moves the running statistics past all images.
        """
        own_mean, newest, devices = _averaged(x), 1 - self.decay, self.virtual_devices
        # A tenth of what torch's `var` takes over the last axes on a CPU.
        own_var = torch.zeros_like(own_mean)
        if x.dim() > 2:
            own_var = torch.linalg.vector_norm(x - _each(own_mean, x), dim=position_axes(x)).square()
            own_var = own_var / x[0, 0].numel()
        mean = _met(self.running_mean, self.decay, newest * own_mean, devices)
        away = (own_mean - mean).square()
        var = _met(self.running_var, self.decay, newest * (own_var + self.decay * away), devices)
        scale = torch.rsqrt(var + self.eps)
        return mean, scale, (own_mean - mean) * scale, (own_var + away) * scale.square()


class _Controlled(torch.autograd.Function):
    """gamma z + beta with z = (x - mean) scale, and the gradient that the errors correct. See `OnlineNorm`.

    (11) and (12) are linear in z and z', so means over positions are all that the recurrences need: z' and z are read
    twice, for the means and for the result.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, gamma: Tensor, beta: Tensor, *rest: Any) -> Tensor:
        mean, scale, z_mean, z_square, *errors, ctx.rate, ctx.devices = rest
        z = (x - _each(mean, x)).mul_(_each(scale, x))
        ctx.save_for_backward(z, gamma, scale, z_mean, z_square)
        ctx.errors = errors  # as they will be in the backward pass, not as they are now
        return torch.addcmul(spread(beta, x), z, spread(gamma, x))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Any:
        z, gamma, scale, z_mean, z_square = ctx.saved_tensors
        (g,) = grads
        along, of_mean = ctx.errors
        g_mean, gz_mean = _averaged(g), _averaged(g * z)
        # (11b) with (11a) put in, and (12b) with (12a).
        turn = ctx.rate * _met(along, 1 - ctx.rate * z_square, gamma * gz_mean, ctx.devices)
        new = (gamma * g_mean - turn * z_mean) * scale
        shift = ctx.rate * _met(of_mean, 1 - ctx.rate, new, ctx.devices)
        result = torch.addcmul(_each(-shift, z), g, _each(gamma * scale, z)).addcmul_(z, _each(-turn * scale, z))
        positions = z[0, 0].numel()
        return result, positions * gz_mean.sum(0), positions * g_mean.sum(0), *[None] * 8


def _met(running: Tensor, keep: Tensor | float, new: Tensor, devices: int) -> Tensor:
    """What each image of (N, C) meets, where image t moves it to `keep[t]` times what it met, plus `new[t]`.

    `running` (C,) is moved past all images, of the first device where there are several.
    """

    def parts(values: Tensor) -> Tensor:
        return values.view(devices, -1, *values.shape[1:]).transpose(0, 1)

    first = running.to(new.dtype).expand(devices, -1)
    state = in_order(first, parts(keep) if isinstance(keep, Tensor) else keep, parts(new))
    running.copy_(state[-1, 0])
    return state[:-1].transpose(0, 1).reshape(new.shape)


def in_order(first: Tensor, keep: Tensor | float, new: Tensor) -> Tensor:
    """state[t] = keep[t] state[t-1] + new[t] for all t at once, in log2(T) steps of doubling.

    Args:
        first: state[0], of any shape.
        keep: (T, *shape), or one number.
        new: (T, *shape).

    Returns:
        state[0] to state[T], (T + 1, *shape).

    Example:
        >>> import torch
        >>> in_order(torch.tensor(8.0), torch.full((3,), 0.5), torch.tensor([1.0, 2.0, 0.0]))
        tensor([8.0000, 5.0000, 4.5000, 2.2500])
    """
    state, step = torch.cat([first[None], new]), 1
    kept = torch.cat([torch.ones_like(first[None]), keep]) if isinstance(keep, Tensor) else keep
    while step < len(state):  # each knows what the last `step` images did, and joins those that did the `step` before
        if isinstance(kept, Tensor):
            joined = torch.addcmul(state[step:], kept[step:], state[:-step])
            kept = torch.cat([kept[:step], kept[step:] * kept[:-step]])
        else:
            joined, kept = torch.add(state[step:], state[:-step], alpha=kept), kept * kept
        state = torch.cat([state[:step], joined])
        step *= 2
    return state


def _averaged(x: Tensor) -> Tensor:
    """Means over positions, (N, C)."""
    return x.mean(position_axes(x)) if x.dim() > 2 else x


def _each(values: Tensor, x: Tensor) -> Tensor:
    """(N, C) so that it spreads over (N, C, ...)."""
    return values.view(*values.shape, *[1] * (x.dim() - 2))
