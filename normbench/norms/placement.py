"""The norm of a run, as models are handed it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from normbench.norms.contract import BranchRule, Reparametrizes, replaces_activation
from normbench.norms.facts import Facts
from normbench.norms.registry import built
from normbench.spec.registry import NORMS

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Norms:
    """A norm with its options, to be placed after layers.

    Args:
        name: A registered norm.
        options: Its options; what is left out takes its default.
        virtual_devices: Handed to norms that can compute as so many devices would.

    Example:
        >>> from torch import nn
        >>> parts = Norms("group", {"groups": 2}).after(nn.Linear(3, 4), nn.ReLU(), 4)
        >>> [name for name, _ in parts]
        ['norm', 'act']
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    virtual_devices: int = 1

    @property
    def facts(self) -> Facts:
        """What is measured of the norm."""
        found: Facts = NORMS.get(self.name).facts["measured"](self.options)
        return found

    @property
    def branch(self) -> BranchRule | None:
        """How residual branches are built, for a method that does without norm; None for any other."""
        found: BranchRule | None = NORMS.get(self.name).facts.get("branch")
        return found

    def cancels_bias(self, num_channels: int) -> bool:
        """Whether a bias just before the norm, on so many channels, has exactly no effect."""
        return self.facts.cancels_bias(num_channels)

    def build(self, num_channels: int, spatial: bool = True) -> nn.Module:
        """The norm itself, on so many channels."""
        entry = NORMS.get(self.name)
        options = entry.chosen(self.options, "model.norm_options")
        norm = built(entry, num_channels, options, spatial, self.virtual_devices)
        norm.stands_at_site = True  # type: ignore[assignment]  # so that it is found in the network: see `placed`
        return norm

    def after(
        self,
        layer: nn.Module,
        activation: nn.Module | None,
        num_channels: int,
        position: Literal["before", "after"] = "before",
    ) -> list[tuple[str, nn.Module]]:
        """The norm and the activation that follow `layer`, as ("norm", ...) and ("act", ...).

        Args:
            layer: The convolution or linear layer; a norm that reparametrises it does so now.
            activation: None where there is none, as on logits. Left out where the norm replaces it.
            num_channels: Channels of the norm's input.
            position: The norm "before" the activation, or "after" it.
        """
        from torch import nn

        norm = self.build(num_channels, spatial=not isinstance(layer, nn.Linear))
        if isinstance(norm, Reparametrizes):
            norm.reparametrize(layer)
        parts: list[tuple[str, nn.Module]] = [("norm", norm)]
        if activation is not None and not replaces_activation(norm):
            parts.insert(1 if position == "before" else 0, ("act", activation))
        return parts


def placed(net: nn.Module) -> dict[str, nn.Module]:
    """The norms of a network that models were handed, by name; `none` is one too."""
    return {name or "net": module for name, module in net.named_modules() if getattr(module, "stands_at_site", False)}
