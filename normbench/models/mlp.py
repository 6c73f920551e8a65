"""Fully connected networks."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from normbench.models.blocks import Blocks
from normbench.models.layer import Layer, Shape
from normbench.models.registry import register_model
from normbench.norms import Norms
from normbench.spec.values import Count

if TYPE_CHECKING:
    from torch import nn


@register_model("mlp")
@dataclass(frozen=True)
class MLP(Blocks):
    """Flatten, [Linear, (Norm), Activation, Dropout] x M, Linear, (Norm).

    Args:
        hidden: Widths of the hidden linear layers.
        dropout: Probability of dropping a unit after each hidden layer.
        activation: relu, gelu, silu, tanh or sigmoid.
        norm_position: Norm before or after the activation.
        norm_linear: Norm on the hidden layers.
        norm_logits: Norm on the output of the last layer.
        bias: Where biases are: auto drops that of a layer only where a norm after it cancels it exactly; always keeps
            all; never drops those before a norm; nowhere has none at all, whatever the norm.
    """

    hidden: Sequence[Count] = (128, 128)

    def layers(self, image: Shape, classes: int, norms: Norms) -> Iterator[Layer]:
        """The linear layers as plain data."""
        yield from self.linear_layers(math.prod(image), classes, norms)

    def build(self, image: Shape, classes: int, norms: Norms) -> nn.Module:
        """The network: images (N, C, H, W) to logits (N, classes)."""
        from torch import nn

        blocks = self.linear_blocks(math.prod(image), classes, norms)
        return nn.Sequential(OrderedDict(flatten=nn.Flatten(), **blocks))
