"""Plain convolutional networks."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator
from typing import TYPE_CHECKING

from normbench.models.cost import Layer, Shape, has_bias
from normbench.models.mlp import linear_blocks, linear_layers, ordered
from normbench.models.registry import register_model
from normbench.norms.registry import build_norm
from normbench.spec.schema import ModelConfig

if TYPE_CHECKING:
    from torch import nn


def _pooled(config: ModelConfig, shape: Shape) -> Shape:
    return shape if config.pool == "none" else (shape[0], shape[1] // 2, shape[2] // 2)


def _pad(config: ModelConfig) -> int:
    kernel, padding = config.kernel_size or 0, config.padding
    if isinstance(padding, int):
        return padding
    return 0 if padding == "valid" else (kernel - 1) // 2


def _conv_layers(config: ModelConfig, image: Shape) -> Iterator[Layer]:
    """The convolutions. An output side is floor((W - K + 2P) / S) + 1."""
    kernel, stride = config.kernel_size or 0, config.stride or 1
    shape = image
    for index, channels in enumerate(config.channels or []):
        side = [(length - kernel + 2 * _pad(config)) // stride + 1 for length in shape[1:]]
        if config.padding == "same" and stride == 1 and kernel % 2 == 0:
            side = [length + 1 for length in side]  # torch pads an even kernel by one more on one side
        outputs = (channels, side[0], side[1])
        yield Layer(f"block.{index}", shape, outputs, kernel, True, has_bias(config, channels, True))
        shape = _pooled(config, outputs)
        if min(shape) < 1 <= min(outputs):
            # Said by the layer's own check: nothing is left to flatten.
            yield Layer(f"the pool of block.{index}", outputs, shape, 2, False, False)


def cnn_layers(config: ModelConfig, image: Shape, classes: int) -> Iterator[Layer]:
    """The layers of `cnn`."""
    shape = image
    for layer in _conv_layers(config, image):
        yield layer
        shape = _pooled(config, layer.outputs)
    yield from linear_layers(config, math.prod(shape), classes)


@register_model(
    "cnn",
    layers=cnn_layers,
    presets={"digit_cnn": {"norm": "none"}, "digit_cnn_bn": {"norm": "batch", "dropout": 0.5}},
    channels=[32, 64],
    kernel_size=3,
    padding="same",
    stride=1,
    pool="max",
    hidden=[128],
    dropout=0.0,
    activation="relu",
    norm_position="before",
    norm_linear=False,
    norm_logits=False,
    bias="auto",
)
def cnn(config: ModelConfig, image: Shape, classes: int) -> nn.Module:
    """[Conv, Norm, Activation, Pool] x N, Flatten, [Linear, (Norm), Activation, Dropout] x M, Linear."""
    from torch import nn

    assert config.norm is not None
    pools = {"max": nn.MaxPool2d, "average": nn.AvgPool2d}
    blocks: OrderedDict[str, nn.Module] = OrderedDict()
    shape = image
    for layer in _conv_layers(config, image):
        channels = layer.outputs[0]
        padding = "same" if config.padding == "same" and config.stride == 1 else _pad(config)
        conv = nn.Conv2d(
            layer.inputs[0],
            channels,
            layer.kernel,
            stride=config.stride or 1,
            padding=padding,
            bias=layer.bias,
        )
        norm = build_norm(config.norm, channels, **config.norm_options)
        parts = [("conv", conv), *ordered(config, norm)]
        if config.pool in pools:
            parts.append(("pool", pools[config.pool](2)))
        blocks[layer.name.replace(".", "")] = nn.Sequential(OrderedDict(parts))
        shape = _pooled(config, layer.outputs)
    features = math.prod(shape)
    return nn.Sequential(OrderedDict(**blocks, flatten=nn.Flatten(), **linear_blocks(config, features, classes)))
