"""The networks in plain torch, as a user writes them, and as one who wants speed does. Equal to normbench's."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

GROUPS = 8
Norm = Callable[[int], nn.Module]


def usual_norm(name: str, maps: bool) -> Norm:
    """The layer that the documentation of torch gives for a norm.

    Args:
        name: none, batch, layer, instance or group.
        maps: Whether it follows a convolution.
    """
    kinds: dict[str, Norm] = {
        "none": lambda channels: nn.Identity(),
        "batch": nn.BatchNorm2d if maps else nn.BatchNorm1d,
        "layer": (lambda channels: nn.GroupNorm(1, channels)) if maps else nn.LayerNorm,
        "instance": lambda channels: nn.InstanceNorm2d(channels, affine=True),
        "group": lambda channels: nn.GroupNorm(GROUPS, channels),
    }
    return kinds[name]


def fast_norm(name: str, maps: bool) -> Norm:
    """The same, where torch has a quicker layer: instance norm as a group norm, which keeps the memory layout."""
    return (lambda channels: nn.GroupNorm(channels, channels)) if name == "instance" else usual_norm(name, maps)


def network(model: str, norm: str, *, fast: bool = False) -> nn.Sequential:
    """digit_cnn, strided_cnn or mlp for images (N, 1, 28, 28) and ten classes.

    Args:
        model: Which.
        norm: none, batch, layer, instance or group.
        fast: Take the quickest layers, and no bias where the norm after it takes it away.
    """
    make = fast_norm if fast else usual_norm

    def biased(channels: int) -> bool:
        return not (fast and (norm in {"batch", "instance"} or (norm == "group" and channels == GROUPS)))

    maps, flat = make(norm, True), make(norm, False)
    parts: list[nn.Module] = []
    if model == "digit_cnn":
        before = 1
        for channels in (32, 64):
            conv = nn.Conv2d(before, channels, 3, padding=1, bias=biased(channels))
            parts += [conv, maps(channels), nn.ReLU(), nn.MaxPool2d(2)]
            before = channels
        parts += [nn.Flatten(), nn.Linear(64 * 7 * 7, 128), nn.ReLU(), nn.Linear(128, 10)]
    elif model == "strided_cnn":
        before = 1
        for channels in (8, 16, 32, 64, 64):
            conv = nn.Conv2d(before, channels, 3, stride=2, padding=1, bias=biased(channels))
            parts += [conv, maps(channels), nn.ReLU()]
            before = channels
        parts += [nn.Flatten(), nn.Linear(64, 10)]
    elif model == "mlp":
        parts = [nn.Flatten()]
        before = 784
        for width in (128, 128):
            parts += [nn.Linear(before, width, bias=biased(width)), flat(width), nn.ReLU()]
            before = width
        parts += [nn.Linear(before, 10)]
    else:
        raise ValueError(f"{model!r} is no model here")
    return nn.Sequential(*[part for part in parts if not (fast and isinstance(part, nn.Identity))])
