"""What a method without norm does to the layers of a residual network: scalars, and first values. See `BranchRule`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from normbench.norms.contract import BranchRule

GAIN = "initial_gain"  # attribute of a layer: what its drawn weight is multiplied by, see `train.initialisation`


def build_branch(layers: Sequence[nn.Conv2d | nn.Linear], rule: BranchRule, branches: int) -> None:
    """Gives the layers of a branch, first to last, their scalars and first values.

    Args:
        layers: Convolutions or linear layers.
        rule: The method.
        branches: Residual branches of the whole network.
    """
    *first, last = layers
    if rule.rescaled:
        for layer in first:
            setattr(layer, GAIN, rule.gain(branches, len(layers)))
        _zero(last)
    if rule.scalar_biases:
        for layer in layers:
            _add_input_bias(layer)
    last.register_parameter("branch_scale", nn.Parameter(torch.full((1,), rule.multiplier)))
    last.register_forward_hook(_multiplied)


def end_network(classifier: nn.Linear, rule: BranchRule) -> None:
    """Gives the classifier its scalar bias and first values."""
    if rule.rescaled:
        _zero(classifier)
    if rule.scalar_biases:
        _add_input_bias(classifier)


def _zero(layer: nn.Conv2d | nn.Linear) -> None:
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def _add_input_bias(layer: nn.Module) -> None:
    layer.register_parameter("input_bias", nn.Parameter(torch.zeros(1)))
    layer.register_forward_pre_hook(_shifted)


def _shifted(layer: Any, inputs: tuple[Tensor, ...]) -> tuple[Tensor]:
    (x,) = inputs
    return (x + layer.input_bias.to(x.dtype),)


def _multiplied(layer: Any, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return output * layer.branch_scale.to(output.dtype)
