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
