"""What a norm may do besides normalising its input. None of it has to be declared: it is found on the module.

A norm is a module on (N, C), (N, C, L) or (N, C, H, W). It may also act on the layer before it, take the place of the
activation after it, be told the step, train some of its parameters at a rate of their own, and say how residual
branches are built without a norm.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import nn


@runtime_checkable
class Reparametrizes(Protocol):
    """A norm that changes how the layer before it computes its weight: weight norm, weight standardisation.

    A class that needs several weights in each filter says how many in `fewest_weights`; a plan refuses fewer.
    """

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


@runtime_checkable
class HasRates(Protocol):
    """A module of which some parameters train at a rate of their own: the gate of batch-instance norm."""

    rate_factors: Mapping[str, float]
    """For names of its own parameters: the factor on the learning rate of the run, at every step."""


@dataclass(frozen=True)
class BranchRule:
    """How a method that does without norm builds residual branches: the attribute `branch` of its class.

    A model that has no branches built for it refuses such a method.

    Args:
        multiplier: First value of the scalar that each branch is multiplied by at its end.
        scalar_biases: Whether a scalar is added before each layer of a branch and before the classifier. They take the
            place of biases that layers have for each channel.
        rescaled: Whether, of L branches of m layers, the first m - 1 layers of each are drawn and then multiplied by
            L^(-1/(2m - 2)), and the last layer and the classifier start at zero.
        rate: Factor on the learning rate of the scalars.

    Example:
        >>> BranchRule(scalar_biases=True).parameters(last=True), BranchRule(scalar_biases=True).parameters(last=False)
        (2, 1)
    """

    multiplier: float = 1.0
    scalar_biases: bool = False
    rescaled: bool = False
    rate: float = 1.0

    def parameters(self, last: bool) -> int:
        """The parameters that belong to a layer of a branch, which may be its last."""
        return self.scalar_biases + last

    def gain(self, branches: int, layers: int) -> float:
        """What the first layers of each of so many branches of so many layers are multiplied by.

        Example:
            >>> BranchRule(rescaled=True).gain(9, 2) * 3, BranchRule().gain(9, 2)
            (1.0, 1.0)
        """
        return float(branches) ** (-1 / (2 * layers - 2)) if self.rescaled and layers > 1 else 1.0


def replaces_activation(norm: nn.Module) -> bool:
    """Whether no activation may follow the norm."""
    return bool(getattr(norm, "replaces_activation", False))


def set_step(model: nn.Module, step: int, total: int) -> None:
    """Tells every norm of a model that wants to know which optimizer step comes next."""
    for module in model.modules():
        if isinstance(module, FollowsSteps):
            module.set_step(step, total)
