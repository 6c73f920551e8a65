"""The one registry of norms. A builder imports torch inside, so that studies are planned without it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from normbench.errors import UsageError, unknown

if TYPE_CHECKING:
    from torch import nn

Scope = Literal["none", "sample", "device", "global"]


@dataclass(frozen=True)
class Norm:
    """What the framework knows about a norm besides how to build it.

    Args:
        name: The name in a configuration.
        build: `build(num_channels, spatial=True, **options) -> nn.Module` for inputs (N, C, H, W) if spatial,
            else (N, C).
        axes: The axes that share one mean and variance, for a spatial input, as a reader would say it.
        scope: Over which images a statistic is taken while training: none, a single sample, the batch part of
            one device, or the global batch.
        same_in_eval: Whether evaluation computes the same function as training.
        cancels_bias: Whether a bias added per channel just before the norm has exactly no effect, or a function
            of (num_channels, options) that says so.
        linear: Whether the norm is defined for inputs (N, C).
        check: Raises UsageError for (num_channels, spatial, options) that the norm cannot take.
    """

    name: str
    build: Callable[..., nn.Module]
    axes: str
    scope: Scope
    same_in_eval: bool
    cancels_bias: bool | Callable[[int, Mapping[str, Any]], bool] = False
    linear: bool = True
    check: Callable[[int, bool, Mapping[str, Any]], None] | None = None

    def cancels(self, num_channels: int, options: Mapping[str, Any]) -> bool:
        """Whether a bias just before this norm, on `num_channels` channels, has exactly no effect."""
        if callable(self.cancels_bias):
            return self.cancels_bias(num_channels, {**norm_options(self.name), **options})
        return self.cancels_bias

    def images_per_statistic(
        self, batch_size: int, devices: int = 1, accumulate: int = 1, options: Mapping[str, Any] | None = None
    ) -> int:
        """Images whose activations share one mean and variance while training (none: 0).

        Args:
            batch_size: Global batch of an optimizer step.
            devices: Real or virtual devices among which each batch is divided.
            accumulate: Parts into which gradient accumulation splits the global batch.
            options: The norm's options; `size` of a ghost norm is its number of images.
        """
        part = batch_size // accumulate
        if self.scope == "device":
            size = (options or {}).get("size")
            return min(size, part // devices) if size else part // devices
        return {"none": 0, "sample": 1, "global": part}[self.scope]


NORMS: dict[str, Norm] = {}


def register_norm(
    name: str, *, axes: str, scope: Scope, same_in_eval: bool, **facts: Any
) -> Callable[[Callable[..., nn.Module]], Callable[..., nn.Module]]:
    """Decorator that adds a builder `f(num_channels, spatial=True, **options) -> nn.Module` to the registry.

    The keyword arguments are the fields of `Norm`. A name that is taken raises UsageError, unless the
    builder is the same one imported again.
    """

    def add(build: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
        old = NORMS.get(name)
        if old and (old.build.__module__, old.build.__qualname__) != (build.__module__, build.__qualname__):
            raise UsageError(f"norm '{name}' is registered already by {old.build.__module__}: choose another name")
        NORMS[name] = Norm(name, build, axes, scope, same_in_eval, **facts)
        return build

    return add


def get_norm(name: str) -> Norm:
    """The registered norm; an unknown name raises UsageError with the nearest and all known ones."""
    try:
        return NORMS[name]
    except KeyError:
        raise UsageError(unknown("norm", name, NORMS)) from None


def norm_options(name: str) -> dict[str, Any]:
    """The options that the builder of a norm takes, with their defaults."""
    parameters = list(inspect.signature(get_norm(name).build).parameters.values())[2:]
    return {p.name: p.default for p in parameters if p.kind is not p.VAR_KEYWORD}


def check_norm(name: str, num_channels: int, spatial: bool, options: Mapping[str, Any]) -> None:
    """Raises UsageError where `build_norm` with the same arguments could not build."""
    norm = get_norm(name)
    known = norm_options(name)
    for option in options:
        if option not in known:
            text = unknown(f"option of norm '{name}'", option, known) if known else f"norm '{name}' takes no options"
            raise UsageError(f"model.norm_options: {text}")
    if not spatial and not norm.linear:
        raise UsageError(
            f"norm '{name}' has nothing to average on the output of a linear layer (no spatial positions): "
            "choose another norm there, or leave linear layers without one (model.norm_linear=false)"
        )
    if norm.check:
        norm.check(num_channels, spatial, {**known, **options})


def build_norm(name: str, num_channels: int, spatial: bool = True, **options: Any) -> nn.Module:
    """The norm layer `name` for `num_channels` channels.

    Args:
        name: A registered norm.
        num_channels: C of the input.
        spatial: Whether the input is (N, C, H, W), or else (N, C).
        options: The builder's own; an unknown one raises UsageError.
    """
    check_norm(name, num_channels, spatial, options)
    return get_norm(name).build(num_channels, spatial, **options)
