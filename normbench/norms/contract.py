"""What a norm may do besides normalising its input. None of it has to be declared: it is found on the module.

A norm is a module on (N, C), (N, C, L) or (N, C, H, W). It may also act on the layer before it, take the place of the
activation after it, and be told the step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import nn


@runtime_checkable
class Reparametrizes(Protocol):
    """A norm that changes how the layer before it computes its weight: weight norm, weight standardisation."""

    def reparametrize(self, layer: nn.Module) -> None:
        """Called once, on the convolution or linear layer just before the norm, when the model is built."""


@runtime_checkable
class ReplacesActivation(Protocol):
    """A norm with an activation of its own: EvoNorm, filter response normalization with TLU."""

    replaces_activation: bool


@runtime_checkable
class FollowsSteps(Protocol):
    """A norm that changes while it trains: batch renormalization, a gate that opens."""

    def set_step(self, step: int, total: int) -> None:
        """Called before every optimizer step: `step` counts from 0 to `total` - 1."""


def replaces_activation(norm: nn.Module) -> bool:
    """Whether no activation may follow the norm."""
    return bool(getattr(norm, "replaces_activation", False))


def set_step(model: nn.Module, step: int, total: int) -> None:
    """Tells every norm of a model that wants to know which optimizer step comes next."""
    for module in model.modules():
        if isinstance(module, FollowsSteps):
            module.set_step(step, total)
