"""Registering and building norms. No torch: a norm's own file imports it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from normbench.errors import UsageError, unknown
from normbench.norms.claims import CLAIMS
from normbench.norms.facts import Facts
from normbench.norms.known import Measured
from normbench.spec.registry import NORMS, Entry, entry_of, source_file

if TYPE_CHECKING:
    from torch import nn

Build = TypeVar("Build", bound=Callable[..., Any])
HANDED = ("num_channels", "spatial", "virtual_devices")  # filled in by the framework, so no options of a user


def register_norm(name: str, **claims: Any) -> Callable[[Build], Build]:
    """Decorator that adds a norm: a class, or a function that returns a module.

    Its first parameter is `num_channels`; the others are its options, typed and with defaults. The module takes
    inputs (N, C), (N, C, L) or (N, C, H, W). A parameter `virtual_devices` is filled in by the trainer, and `spatial`
    (True for maps, False behind a linear layer) by the model. What it does is measured: see `Facts`.

    Args:
        name: Its name in a configuration. A name that another file has taken raises UsageError.
        claims: Optional: axes, scope, same_in_eval, cancels_bias, linear. Each is held against the measurement when
            the norm is first planned or trained; a false one raises UsageError.

    Example:
        >>> from torch import nn
        >>> @register_norm("squash", same_in_eval=True)
        ... class Squash(nn.Tanh):
        ...     def __init__(self, num_channels: int) -> None:
        ...         super().__init__()
        >>> facts("squash").has_statistics
        False
        >>> NORMS.remove("squash")
    """
    for claim in claims:
        if claim not in CLAIMS:
            raise UsageError(f"norm '{name}': {unknown('claim', claim, CLAIMS)}")

    def add(build: Build) -> Build:
        NORMS.add(norm_entry(name, build, claims))
        return build

    return add


def norm_entry(name: str, build: Callable[..., Any], claims: Mapping[str, Any]) -> Entry:
    """The entry of a norm that is defined in Python."""
    parameters = inspect.signature(build).parameters
    first = next(iter(parameters), None)
    if first != "num_channels":
        raise UsageError(f"norm '{name}': its first parameter is num_channels, not {first or 'none'}")
    handed = [key for key in HANDED if key in parameters]
    known: dict[str, Any] = {"claims": dict(claims), "handed": handed, "virtual": "virtual_devices" in handed}
    if hasattr(build, "reparametrize"):
        # It acts on the weights of the layer before, and can be joined to others by `+`; how many of them it needs.
        known["weights"] = getattr(build, "fewest_weights", 1)
    if (branch := getattr(build, "branch", None)) is not None:
        known["branch"] = branch
    return entry_of(name, build, handed=HANDED, facts={**known, "measured": Measured(name, source_file(build))})


def built(
    entry: Entry, num_channels: int, options: Mapping[str, Any], spatial: bool = True, virtual_devices: int = 1
) -> nn.Module:
    """The module of an entry, for options that are checked already."""
    all_handed = {"spatial": spatial, "virtual_devices": virtual_devices}
    handed = {key: value for key, value in all_handed.items() if key in entry.facts["handed"]}
    module: nn.Module = entry.build(num_channels, **handed, **options)
    return module


def build_norm(name: str, num_channels: int, virtual_devices: int = 1, **options: Any) -> nn.Module:
    """The norm `name` on `num_channels` channels.

    Args:
        name: A registered norm.
        num_channels: C of the inputs (N, C), (N, C, L) or (N, C, H, W).
        virtual_devices: Handed to a norm that can compute as so many devices would.
        options: The norm's own; one that is unknown or out of its range raises UsageError.

    Example:
        >>> build_norm("group", 8, groups=2).num_groups
        2
    """
    entry = NORMS.get(name)
    return built(entry, num_channels, entry.chosen(options, "model.norm_options"), virtual_devices=virtual_devices)


def facts(name: str, options: Mapping[str, Any] | None = None) -> Facts:
    """What is measured of a norm with these options; what is left out takes its default.

    Example:
        >>> facts("group", {"groups": 4}).values_per_statistic(images=32, channels=16, positions=49)
        196
    """
    found: Facts = NORMS.get(name).facts["measured"](options or {})
    return found
