"""What the built-in networks have in common: activations, and the hidden linear blocks that they end with."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from normbench.models.layer import Layer
from normbench.norms import Norms
from normbench.spec.values import Count, Probability

if TYPE_CHECKING:
    from torch import nn

Activation = Literal["relu", "gelu", "silu", "tanh", "sigmoid"]
Position = Literal["before", "after"]
Bias = Literal["auto", "always", "never", "nowhere"]


def activation_layer(name: Activation) -> nn.Module:
    """The activation `name` as a layer."""
    from torch import nn

    kinds: dict[str, type[nn.Module]] = {
        "relu": nn.ReLU,
        "gelu": nn.GELU,
        "silu": nn.SiLU,
        "tanh": nn.Tanh,
        "sigmoid": nn.Sigmoid,
    }
    return kinds[name]()


def has_bias(rule: Bias, norms: Norms, channels: int, normed: bool, direct: bool = True) -> bool:
    """Whether a layer has a bias.

    Args:
        rule: auto, always, never or nowhere: see the models' option `bias`.
        norms: The norm of the run.
        channels: Channels of the layer's outputs.
        normed: Whether the norm follows it.
        direct: Whether the norm takes the outputs themselves, with nothing between.
    """
    if rule == "nowhere":
        return False
    if not normed or rule == "always":
        return True
    if norms.branch is not None:  # no norm; scalar biases take the place of those of layers
        return not norms.branch.scalar_biases
    if rule == "auto":
        return not (direct and norms.cancels_bias(channels))
    return norms.name == "none"


@dataclass(frozen=True)
class Blocks:
    """Options that most built-in network has, and the blocks made from them."""

    hidden: Sequence[Count] = ()
    dropout: Probability = 0.0
    activation: Activation = "relu"
    norm_position: Position = "before"
    norm_linear: bool = True
    norm_logits: bool = False
    bias: Bias = "auto"

    def has_bias(self, norms: Norms, channels: int, normed: bool) -> bool:
        """Whether a layer has a bias, where `normed` says that the norm follows it."""
        return has_bias(self.bias, norms, channels, normed, self.norm_position == "before")

    def linear_layers(self, features: int, classes: int, norms: Norms) -> Iterator[Layer]:
        """The hidden linear layers and the last one."""
        width = features
        for index, units in enumerate(self.hidden):
            bias = self.has_bias(norms, units, self.norm_linear)
            shapes = (width, 1, 1), (units, 1, 1)
            direct = self.norm_position == "before"
            yield Layer(f"hidden.{index}", *shapes, 0, self.norm_linear, bias, direct=direct)
            width = units
        # The order "norm before the activation" has no meaning on logits: a norm there follows the layer directly.
        bias = self.has_bias(norms, classes, self.norm_logits)
        yield Layer("output", (width, 1, 1), (classes, 1, 1), 0, self.norm_logits, bias, "logits")

    def linear_blocks(self, features: int, classes: int, norms: Norms) -> OrderedDict[str, nn.Module]:
        """[Linear, (Norm), Activation, Dropout] for each hidden width, then the last linear layer."""
        from torch import nn

        from normbench.models.dropout import SeededDropout

        *hidden, last = self.linear_layers(features, classes, norms)
        blocks: OrderedDict[str, nn.Module] = OrderedDict()
        for layer in hidden:
            linear = nn.Linear(layer.inputs[0], layer.outputs[0], bias=layer.bias)
            parts: list[tuple[str, nn.Module]] = [("linear", linear), *self.followers(norms, linear, layer)]
            if self.dropout > 0:
                parts.append(("dropout", SeededDropout(self.dropout)))
            blocks[layer.name.replace(".", "")] = nn.Sequential(OrderedDict(parts))
        output = nn.Linear(last.inputs[0], last.outputs[0], bias=last.bias)
        blocks["output"] = output
        if last.norm:
            blocks["norm_logits"] = norms.after(output, None, classes)[0][1]
        return blocks

    def followers(self, norms: Norms, layer: nn.Module, facts: Layer) -> list[tuple[str, nn.Module]]:
        """Norm and activation after a layer, named and in the order that the options ask for."""
        act = activation_layer(self.activation)
        if not facts.norm:
            return [("act", act)]
        return norms.after(layer, act, facts.outputs[0], self.norm_position)
