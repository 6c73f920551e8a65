"""What a method without norm does to the layers of a residual network: scalars, and first values. See `BranchRule`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from normbench.norms.contract import BranchRule

Scaled = nn.Conv2d | nn.Linear
RATES = "rate_factors"  # see `norms.contract.HasRates`
GAIN = "initial_gain"  # attribute of a layer: what its drawn weight is multiplied by, see `train.initialisation`


def build_branch(
    layers: Sequence[Scaled],
    rule: BranchRule,
    branches: int,
    *,
    before: Sequence[Scaled] | None = None,
    after: Sequence[Scaled] = (),
    depth: int | None = None,
) -> None:
    """Gives the layers of a branch, first to last, their scalars and first values.

    Args:
        layers: Convolutions or linear layers.
        rule: The method.
        branches: Residual branches of the whole network.
        before: Those with a scalar bias before them; None: all. A norm's place before a layer has one itself.
        after: Those with a scalar bias after them, before an activation at which no norm has a place.
        depth: m of the rule; None: as many as layers.
    """
    *first, last = layers
    if rule.rescaled:
        for layer in first:
            setattr(layer, GAIN, rule.gain(branches, depth or len(layers)))
        _zero(last)
    if rule.scalar_biases:
        for layer in layers if before is None else before:
            _add_input_bias(layer, rule)
        for layer in after:
            _add_scalar(layer, "output_bias", 0.0, rule)
            layer.register_forward_hook(_lifted)
    _add_scalar(last, "branch_scale", rule.multiplier, rule)
    last.register_forward_hook(_multiplied)


def end_network(classifier: nn.Linear, rule: BranchRule, biased: bool = True) -> None:
    """Gives the classifier its first values, and its scalar bias unless a norm's place just before it has one."""
    if rule.rescaled:
        _zero(classifier)
    if rule.scalar_biases and biased:
        _add_input_bias(classifier, rule)


def _zero(layer: Scaled) -> None:
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def _add_input_bias(layer: Scaled, rule: BranchRule) -> None:
    _add_scalar(layer, "input_bias", 0.0, rule)
    layer.register_forward_pre_hook(_shifted)


def _add_scalar(layer: Scaled, name: str, value: float, rule: BranchRule) -> None:
    layer.register_parameter(name, nn.Parameter(torch.full((1,), value)))
    if rule.rate != 1:
        setattr(layer, RATES, {**getattr(layer, RATES, {}), name: rule.rate})


def _shifted(layer: Any, inputs: tuple[Tensor, ...]) -> tuple[Tensor]:
    (x,) = inputs
    return (x + layer.input_bias.to(x.dtype),)


def _lifted(layer: Any, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return output + layer.output_bias.to(output.dtype)


def _multiplied(layer: Any, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return output * layer.branch_scale.to(output.dtype)
