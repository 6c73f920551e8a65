"""Formulas of the norms written from their papers in plain tensors, one statistic at a time, in float64.

Each takes the input, the layer's parameters and buffers as they were before the call, its options, and whether it
trains; it gives the output. Nothing of the package is used here.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

State = Mapping[str, Tensor]
Reference = Callable[[Tensor, State, Mapping[str, Any], bool], Tensor]
REFERENCES: dict[str, Reference] = {}


def reference(*names: str) -> Callable[[Reference], Reference]:
    """Decorator: the formula of these norms."""

    def add(formula: Reference) -> Reference:
        REFERENCES.update(dict.fromkeys(names, formula))
        return formula

    return add


def per_channel(v: Tensor, x: Tensor) -> Tensor:
    return v.reshape([1, -1] + [1] * (x.dim() - 2))


def scaled(y: Tensor, p: State) -> Tensor:
    """gamma y + beta."""
    return per_channel(p["weight"], y) * y + (per_channel(p["bias"], y) if "bias" in p else 0)


def mean_and_var(x: Tensor, axes: list[int]) -> tuple[Tensor, Tensor]:
    """E[x] and E[x^2] - E[x]^2."""
    mean = x.mean(axes, keepdim=True) if axes else x
    return mean, ((x * x).mean(axes, keepdim=True) if axes else x * x) - mean * mean


def batch_axes(x: Tensor) -> list[int]:
    return [0, *range(2, x.dim())]


def image_axes(x: Tensor) -> list[int]:
    return list(range(1, x.dim()))


@reference("layer_channels")
def layer_channels(x: Tensor, p: State, o: Mapping[str, Any], training: bool) -> Tensor:
    mean, var = mean_and_var(x, [1])
    return scaled((x - mean) / (var + o["eps"]).sqrt(), p)


@reference("position")
def position(x: Tensor, p: State, o: Mapping[str, Any], training: bool) -> Tensor:
    mean, var = mean_and_var(x, [1])
    return (x - mean) / (var + o["eps"]).sqrt()


@reference("local_response")
def local_response(x: Tensor, p: State, o: Mapping[str, Any], training: bool) -> Tensor:
    channels, below, above = x.shape[1], o["size"] // 2, (o["size"] - 1) // 2
    parts = []
    for c in range(channels):
        neighbours = [x[:, j] ** 2 for j in range(c - below, c + above + 1) if 0 <= j < channels]
        parts.append(x[:, c] * (o["k"] + o["alpha"] * sum(neighbours)) ** -o["beta"])
    return torch.stack(parts, 1)


@reference("rms")
def rms(x: Tensor, p: State, o: Mapping[str, Any], training: bool) -> Tensor:
    return scaled(x / ((x * x).mean(image_axes(x), keepdim=True) + o["eps"]).sqrt(), p)


@reference("simple")
def simple(x: Tensor, p: State, o: Mapping[str, Any], training: bool) -> Tensor:
    var = mean_and_var(x, batch_axes(x))[1] if training else per_channel(p["running_var"], x)
    return scaled(x / (var + o["eps"]).sqrt(), p)


@reference("detached_batch")
def detached_batch(x: Tensor, p: State, o: Mapping[str, Any], training: bool) -> Tensor:
    mean, var = mean_and_var(x.detach(), batch_axes(x))
    if not training:
        mean, var = per_channel(p["running_mean"], x), per_channel(p["running_var"], x)
    return scaled((x - mean) / (var + o["eps"]).sqrt(), p)


@reference("detached_layer")
def detached_layer(x: Tensor, p: State, o: Mapping[str, Any], training: bool) -> Tensor:
    mean, var = mean_and_var(x.detach(), image_axes(x))
    return scaled((x - mean) / (var + o["eps"]).sqrt(), p)


@reference("skip_init")
def skip_init(x: Tensor, p: State, o: Mapping[str, Any], training: bool) -> Tensor:
    return x.clone()


@reference("fixup")
def fixup(x: Tensor, p: State, o: Mapping[str, Any], training: bool) -> Tensor:
    return x + p["bias"][0]


@reference("dyt")
def dyt(x: Tensor, p: State, o: Mapping[str, Any], training: bool) -> Tensor:
    e = torch.exp(2 * p["alpha"] * x)
    return scaled((e - 1) / (e + 1), p)


@reference("derf")
def derf(x: Tensor, p: State, o: Mapping[str, Any], training: bool) -> Tensor:
    return scaled(1 - torch.erfc(p["alpha"] * x + p["shift"]), p)


@reference("dyisru")
def dyisru(x: Tensor, p: State, o: Mapping[str, Any], training: bool) -> Tensor:
    return scaled(x.shape[1] ** 0.5 * x / (p["alpha"].abs() + x * x).sqrt(), p)


@reference("frozen_batch")
def frozen_batch(x: Tensor, p: State, o: Mapping[str, Any], training: bool) -> Tensor:
    mean, var = mean_and_var(x, batch_axes(x))  # nothing has told the step: not frozen yet
    if not training:
        mean, var = per_channel(p["running_mean"], x), per_channel(p["running_var"], x)
    return scaled((x - mean) / (var + o["eps"]).sqrt(), p)


@reference("batch_renorm")
def batch_renorm(
    x: Tensor, p: State, o: Mapping[str, Any], training: bool, r_max: float = 1, d_max: float = 0
) -> Tensor:
    moving_mean, moving_std = per_channel(p["running_mean"], x), per_channel(p["running_std"], x)
    if not training:
        return scaled((x - moving_mean) / moving_std, p)
    mean, var = mean_and_var(x, batch_axes(x))
    std = (var + o["eps"]).sqrt()
    r = torch.minimum(
        torch.maximum(std / moving_std, torch.tensor(1 / r_max, dtype=x.dtype)), torch.tensor(r_max, dtype=x.dtype)
    ).detach()
    limit = torch.tensor(d_max, dtype=x.dtype)
    d = torch.minimum(torch.maximum((mean - moving_mean) / moving_std, -limit), limit).detach()
    return scaled((x - mean) / std * r + d, p)


@reference("switchable")
def switchable(x: Tensor, p: State, o: Mapping[str, Any], training: bool) -> Tensor:
    n, c = x.shape[:2]
    flat = x.reshape(n, c, -1)
    positions = flat.shape[2]
    if positions == 1:
        values = flat[..., 0]

        def unbiased(v: Tensor, axis: int) -> Tensor:
            centred = v - v.mean(axis, keepdim=True)
            return (centred**2).sum(axis, keepdim=True) / (v.shape[axis] - 1)

        means = [values.mean(1, keepdim=True), values.mean(0, keepdim=True)]
        variances = [unbiased(values, 1), unbiased(values, 0)]
        if not training:
            means[1], variances[1] = p["running_mean"][None], p["running_var"][None]
        a, b = torch.exp(p["mean_weight"][1:]), torch.exp(p["var_weight"][1:])
        mean = (a[0] * means[0] + a[1] * means[1]) / a.sum()
        var = (b[0] * variances[0] + b[1] * variances[1]) / b.sum()
        return scaled(((values - mean) / (var + o["eps"]).sqrt()).reshape(x.shape), p)
    instance_mean = flat.mean(2, keepdim=True)
    instance_var = ((flat - instance_mean) ** 2).sum(2, keepdim=True) / (positions - 1)
    second = instance_var + instance_mean**2
    layer_mean, batch_mean = instance_mean.mean(1, keepdim=True), instance_mean.mean(0, keepdim=True)
    layer_var = second.mean(1, keepdim=True) - layer_mean**2
    batch_var = second.mean(0, keepdim=True) - batch_mean**2
    if not training:
        batch_mean, batch_var = p["running_mean"][None, :, None], p["running_var"][None, :, None]
    a, b = torch.exp(p["mean_weight"]), torch.exp(p["var_weight"])
    mean = (a[0] * instance_mean + a[1] * layer_mean + a[2] * batch_mean) / a.sum()
    var = (b[0] * instance_var + b[1] * layer_var + b[2] * batch_var) / b.sum()
    return scaled(((flat - mean) / (var + o["eps"]).sqrt()).reshape(x.shape), p)


@reference("batch_instance")
def batch_instance(x: Tensor, p: State, o: Mapping[str, Any], training: bool) -> Tensor:
    mean, var = mean_and_var(x, batch_axes(x))
    if not training:
        mean, var = per_channel(p["running_mean"], x), per_channel(p["running_var"], x)
    own_mean, own_var = mean_and_var(x, list(range(2, x.dim())))
    gate = per_channel(p["gate"], x)
    y = gate * (x - mean) / (var + o["eps"]).sqrt() + (1 - gate) * (x - own_mean) / (own_var + o["eps"]).sqrt()
    return scaled(y, p)


@reference("iter_norm")
def iter_norm(x: Tensor, p: State, o: Mapping[str, Any], training: bool) -> Tensor:
    size, parts = min(o["size"], x.shape[1]), []
    for group, start in enumerate(range(0, x.shape[1], size)):
        rows = torch.stack([x[:, c].flatten() for c in range(start, start + size)])
        if training:
            rows = rows - rows.mean(1, keepdim=True)
            sigma = torch.einsum("im,jm->ij", rows, rows) / rows.shape[1] + o["eps"] * torch.eye(size, dtype=x.dtype)
            trace, power = torch.trace(sigma), torch.eye(size, dtype=x.dtype)
            for _ in range(o["iterations"]):
                power = (3 * power - torch.linalg.matrix_power(power, 3) @ (sigma / trace)) / 2
            whitening = power / trace.sqrt()
        else:
            rows = rows - p["running_mean"][start : start + size, None]
            whitening = p["running_whitening"][group]
        y = whitening @ rows
        parts += [y[i].reshape(x[:, 0].shape) for i in range(size)]
    return scaled(torch.stack(parts, 1), p)


@reference("filter_response")
def filter_response(x: Tensor, p: State, o: Mapping[str, Any], training: bool) -> Tensor:
    flat = x.reshape(*x.shape[:2], -1)
    eps = o["eps"] + (p["extra_eps"].abs()[None, :, None] if "extra_eps" in p else 0)
    y = flat / ((flat**2).sum(2, keepdim=True) / flat.shape[2] + eps) ** 0.5
    y = scaled(y.reshape(x.shape), p)
    threshold = per_channel(p["threshold"], x).expand_as(y)
    return torch.where(y > threshold, y, threshold)


@reference("evonorm_s0")
def evonorm_s0(x: Tensor, p: State, o: Mapping[str, Any], training: bool) -> Tensor:
    parts = [
        (mean_and_var(channels, image_axes(x))[1] + o["eps"]).sqrt().expand_as(channels)
        for channels in x.split(x.shape[1] // o["groups"], 1)
    ]
    swish = x / (1 + torch.exp(-per_channel(p["slope"], x) * x))
    return scaled(swish / torch.cat(parts, 1), p)


@reference("evonorm_b0")
def evonorm_b0(x: Tensor, p: State, o: Mapping[str, Any], training: bool) -> Tensor:
    var = mean_and_var(x, batch_axes(x))[1] if training else per_channel(p["running_var"], x)
    own = mean_and_var(x, list(range(2, x.dim())))[1] if x.dim() > 2 else torch.zeros_like(x)
    one, two = (var + o["eps"]).sqrt().expand_as(x), per_channel(p["slope"], x) * x + (own + o["eps"]).sqrt()
    return scaled(x / torch.where(one > two, one, two), p)


class InOrder(torch.autograd.Function):
    """Chiley et al. 2019, equations 8, 11 and 12 as they stand, one image (C, P) after the other."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, p: State, o: Mapping[str, Any]) -> Tensor:
        mu, var, a, parts, roots = p["running_mean"], p["running_var"], o["decay"], [], []
        for image in x:
            roots.append((var + o["eps"]).sqrt())
            parts.append((image - mu[:, None]) / roots[-1][:, None])  # (8a)
            own = image.sum(1) / image.shape[1]
            own_var = ((image - own[:, None]) ** 2).sum(1) / image.shape[1]
            # (8c) before (8b): it takes the mean as it was.
            var = a * var + (1 - a) * own_var + a * (1 - a) * (own - mu) ** 2
            mu = a * mu + (1 - a) * own
        ctx.save_for_backward(torch.stack(parts), torch.stack(roots), p["error_along"], p["error_mean"])
        ctx.rate = 1 - o["decay_gradient"]
        return torch.stack(parts)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        z, roots, along, of_mean = ctx.saved_tensors
        found = torch.zeros_like(z)
        for t, c in [(t, c) for t in range(z.shape[0]) for c in range(z.shape[1])]:
            double = grads[0][t, c] - ctx.rate * along[c] * z[t, c]  # (11a)
            along = along.index_add(0, torch.tensor([c]), (double * z[t, c]).mean()[None])  # (11b)
            found[t, c] = double / roots[t, c] - ctx.rate * of_mean[c]  # (12a)
            of_mean = of_mean.index_add(0, torch.tensor([c]), found[t, c].mean()[None])  # (12b)
        return found, None, None


@reference("online_norm")
def online_norm(x: Tensor, p: State, o: Mapping[str, Any], training: bool) -> Tensor:
    if training:
        z = InOrder.apply(x.reshape(*x.shape[:2], -1), p, o).reshape(x.shape)
    else:
        z = (x - per_channel(p["running_mean"], x)) / per_channel((p["running_var"] + o["eps"]).sqrt(), x)
    y = scaled(z, p)
    if o["guard"] == "layer_scaling":
        return y / ((y * y).mean(image_axes(x), keepdim=True) + o["eps"]).sqrt()
    return torch.where(y.abs() < o["limit"], y, o["limit"] * y.detach().sign()) if o["guard"] == "clamp" else y


@reference("weight_norm", "weight_std", "scaled_weight_std", "spectral")
def on_weights(x: Tensor, p: State, o: Mapping[str, Any], training: bool) -> Tensor:
    return x  # what they do to the weights: test_weights
