"""Fully connected networks, and the hidden linear blocks that the convolutional ones end with."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from normbench.models.cost import Layer, Shape, has_bias
from normbench.models.registry import register_model
from normbench.norms.registry import build_norm
from normbench.spec.schema import ModelConfig

if TYPE_CHECKING:
    from torch import nn


def activation(name: str) -> nn.Module:
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


def ordered(config: ModelConfig, norm: nn.Module | None) -> list[tuple[str, nn.Module]]:
    """Norm and activation in the order that the configuration asks for."""
    act = ("act", activation(config.activation or "relu"))
    if norm is None:
        return [act]
    return [("norm", norm), act] if config.norm_position == "before" else [act, ("norm", norm)]


def linear_layers(config: ModelConfig, features: int, classes: int) -> Iterator[Layer]:
    """The hidden linear layers and the last one."""
    width = features
    for index, units in enumerate(config.hidden or []):
        normed = bool(config.norm_linear)
        yield Layer(f"hidden.{index}", (width, 1, 1), (units, 1, 1), 0, normed, has_bias(config, units, normed))
        width = units
    # The order "norm before the activation" has no meaning on logits: a norm there follows the layer directly.
    normed = bool(config.norm_logits)
    yield Layer("output", (width, 1, 1), (classes, 1, 1), 0, normed, has_bias(config, classes, normed))


def linear_blocks(config: ModelConfig, features: int, classes: int) -> OrderedDict[str, Any]:
    """[Linear, (Norm), Activation, Dropout] for each hidden width, then the last linear layer."""
    from torch import nn

    from normbench.models.dropout import SeededDropout

    *hidden, last = linear_layers(config, features, classes)
    assert config.norm is not None
    blocks: OrderedDict[str, Any] = OrderedDict()
    for layer in hidden:
        units = layer.outputs[0]
        norm = build_norm(config.norm, units, spatial=False, **config.norm_options) if layer.norm else None
        parts = [("linear", nn.Linear(layer.inputs[0], units, bias=layer.bias)), *ordered(config, norm)]
        if config.dropout:
            parts.append(("dropout", SeededDropout(config.dropout)))
        blocks[layer.name.replace(".", "")] = nn.Sequential(OrderedDict(parts))
    blocks["output"] = nn.Linear(last.inputs[0], classes, bias=last.bias)
    if last.norm:
        blocks["norm_logits"] = build_norm(config.norm, classes, spatial=False, **config.norm_options)
    return blocks


def mlp_layers(config: ModelConfig, image: Shape, classes: int) -> Iterator[Layer]:
    """The layers of `mlp`."""
    yield from linear_layers(config, math.prod(image), classes)


@register_model(
    "mlp",
    layers=mlp_layers,
    hidden=[128, 128],
    dropout=0.0,
    activation="relu",
    norm_position="before",
    norm_linear=True,
    norm_logits=False,
    bias="auto",
)
def mlp(config: ModelConfig, image: Shape, classes: int) -> nn.Module:
    """Flatten, [Linear, (Norm), Activation, Dropout] x M, Linear, (Norm)."""
    from torch import nn

    return nn.Sequential(OrderedDict(flatten=nn.Flatten(), **linear_blocks(config, math.prod(image), classes)))
