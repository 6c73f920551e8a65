"""Every registered norm with the options and inputs it is tested on. The tests run over NORMS itself."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from normbench.norms import NORMS, build_norm, reference

CHANNELS = 8
EPS = 1e-5
SHAPES = {"vector": (), "tokens": (7,), "image": (5, 3)}

FORMULAS: dict[str, Callable[[Tensor, dict[str, Any]], Tensor]] = {
    "none": lambda x, o: x.double(),
    "batch": lambda x, o: reference.ghost(x, len(x) // o.get("virtual_devices", 1), o.get("eps", EPS)),
    "sync_batch": lambda x, o: reference.ghost(
        x, len(x) * o.get("group_size", 1) // o.get("virtual_devices", 1), o.get("eps", EPS)
    ),
    "ghost": lambda x, o: reference.ghost(x, o.get("size", 16), o.get("eps", EPS)),
    "layer": lambda x, o: reference.layer(x, o.get("eps", EPS)),
    "instance": lambda x, o: reference.instance(x, o.get("eps", EPS)),
    "group": lambda x, o: reference.group(x, o.get("groups", 8), o.get("eps", EPS)),
}
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "batch": [{}, {"eps": 0.1, "momentum": 0.3}, {"virtual_devices": 3}, {"momentum": None}],
    "sync_batch": [{}, {"eps": 0.1, "momentum": 0.3}, {"momentum": None}, {"group_size": 2, "virtual_devices": 6}],
    "ghost": [{"size": 4}, {"size": 6, "momentum": 0.3, "eps": 0.1}, {"size": 32}, {"size": 4, "momentum": None}],
    "layer": [{}, {"eps": 0.1}],
    "instance": [{}, {"eps": 0.1}],
    "group": [{"groups": 1}, {"groups": 2}, {"groups": 4, "eps": 0.1}, {"groups": 8}],
}


def fits(name: str, layout: str, options: dict[str, Any]) -> bool:
    """Whether a statistic has more than one value at all."""
    return layout != "vector" or not (name == "instance" or options.get("groups") == CHANNELS)


CASES = [
    pytest.param(name, layout, options, id=f"{name}-{layout}-{options or 'default'}")
    for name in FORMULAS
    for options in VARIANTS.get(name, [{}])
    for layout in SHAPES
    if fits(name, layout, options)
]
ARGUMENTS = ("name", "layout", "options")
every_norm = pytest.mark.parametrize(ARGUMENTS, CASES)
image_norms = pytest.mark.parametrize(ARGUMENTS, [case for case in CASES if case.values[1] == "image"])


def per_channel(values: Tensor, x: Tensor) -> Tensor:
    """(C,) so that it spreads over (N, C, ...)."""
    return values.view(1, -1, *[1] * (x.dim() - 2))


def images(layout: str, seed: int = 0, count: int = 12, dtype: torch.dtype = torch.float32) -> Tensor:
    """Inputs whose channels and images differ in mean and scale, so that no two norms agree by chance."""
    make = torch.Generator().manual_seed(seed)
    x = torch.randn((count, CHANNELS, *SHAPES[layout]), generator=make, dtype=torch.float64)
    x = x * per_channel(torch.linspace(0.5, 2, CHANNELS), x) + per_channel(torch.arange(CHANNELS).double(), x)
    each = (-1, *[1] * (x.dim() - 1))
    return (x * torch.linspace(0.7, 1.5, count, dtype=torch.float64).view(each)).to(dtype)


def build(name: str, options: dict[str, Any]) -> nn.Module:
    """The layer, with gamma and beta that are not one and zero, and gates between 0 and 1."""
    layer = build_norm(name, CHANNELS, **options)
    make = torch.Generator().manual_seed(9)
    for key, parameter in layer.named_parameters():
        parameter.data.uniform_(0.5, 2, generator=make)
        if key == "gate":
            parameter.data.copy_(torch.linspace(0.1, 0.9, len(parameter)))
    return layer


def formula(layer: nn.Module, name: str, options: dict[str, Any], x: Tensor) -> Tensor:
    """What the layer should give: in evaluation of its running averages, where it has some."""
    y = FORMULAS[name](x, options)
    averages = dict(layer.named_buffers())
    if averages and not layer.training:
        mean, var = (per_channel(averages[f"running_{key}"], x) for key in ("mean", "var"))
        y = (x - mean) / torch.sqrt(var + options.get("eps", EPS))
    return y if isinstance(layer, nn.Identity) else reference.affine(y, layer.weight, layer.bias)


def host(norm: str) -> str | None:
    """The model for a norm where any would do: one with branches for a method without norm, or None, the default."""
    return "resnet8" if NORMS.get(norm).facts.get("branch") else None


def builtin() -> set[str]:
    """Norms of the package."""
    return {name for name in NORMS if "normbench/norms/" in NORMS.get(name).source.replace("\\", "/")}
