"""Plain convolutional networks."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from normbench.errors import UsageError
from normbench.models.blocks import Blocks
from normbench.models.layer import Layer, Shape
from normbench.models.registry import register_model
from normbench.norms import Norms
from normbench.spec.marks import LeftOutAt
from normbench.spec.values import Count, Number

if TYPE_CHECKING:
    from torch import nn


STRIDED = {"norm": "none", "channels": (8, 16, 32, 64, 64), "stride": 2, "pool": "none", "hidden": ()}
LENET = {
    "norm": "none",
    "channels": (6, 16),
    "kernel_size": (5, 5),
    "padding": (2, 0),
    "pool": "average",
    "activation": "sigmoid",
    "hidden": (120, 84),
}
Padding = Literal["same", "valid"] | Number
Pool = Literal["max", "average", "none"]


@dataclass(frozen=True)
class Convolution:
    """A convolution of the network with what belongs to it alone."""

    layer: Layer
    padding: Padding
    pool: Pool


@register_model(
    "cnn",
    presets={
        "digit_cnn": {"norm": "none"},
        "digit_cnn_bn": {"norm": "batch", "dropout": 0.5},
        "strided_cnn": STRIDED,  # the last map of a 28 x 28 image is 1 x 1: few values for a statistic
        "lenet": LENET,  # LeCun et al. 1998, as Zhang et al., Dive into Deep Learning, section 7.6, have it
    },
)
@dataclass(frozen=True)
class CNN(Blocks):
    """[Conv, Norm, Activation, Pool] x N, Flatten, [Linear, (Norm), Activation, Dropout] x M, Linear.

    kernel_size, padding, stride and pool are one value for all convolutions, or a list with one for each.

    Args:
        channels: Output channels of each convolution.
        kernel_size: Side of the square kernels.
        padding: Zero padding of the convolutions: same, valid, or a number of pixels.
        stride: Stride of the convolutions.
        pool: Pooling 2x2 after each block: max, average or none.
        head: What stands between the last map and the linear layers: flatten, or the mean over all positions.
        hidden: Widths of the hidden linear layers.
        dropout: Probability of dropping a unit after each hidden linear layer.
        activation: relu, gelu, silu, tanh or sigmoid.
        norm_position: Norm before or after the activation.
        norm_linear: Norm on the hidden linear layers too.
        norm_logits: Norm on the output of the last layer.
        bias: Where biases are: auto drops that of a layer only where a norm after it cancels it exactly; always keeps
            all; never drops those before a norm; nowhere has none at all, whatever the norm.
    """

    hidden: Sequence[Count] = (128,)
    norm_linear: bool = False
    channels: Sequence[Count] = (32, 64)
    kernel_size: Count | Sequence[Count] = 3
    padding: Padding | Sequence[Padding] = "same"
    stride: Count | Sequence[Count] = 1
    pool: Pool | Sequence[Pool] = "max"
    head: Annotated[Literal["flatten", "mean"], LeftOutAt("flatten")] = "flatten"

    def layers(self, image: Shape, classes: int, norms: Norms) -> Iterator[Layer]:
        """The convolutions, pools that leave nothing, and the linear layers."""
        shape = image
        for layer in (conv.layer for conv in self.convolutions(image, norms)):
            yield layer
            shape = pooled(layer)
            if min(shape) < 1 <= min(layer.outputs):
                # Said by the layer's own check: nothing is left to flatten.
                yield Layer(f"the pool of {layer.name}", layer.outputs, shape, 2, False, False)
        yield from self.linear_layers(self.features(shape), classes, norms)

    def convolutions(self, image: Shape, norms: Norms) -> Iterator[Convolution]:
        """The convolutions. An output side is floor((W - K + 2P) / S) + 1."""
        shape = image
        kernels: list[int] = self._each("kernel_size")
        strides: list[int] = self._each("stride")
        paddings: list[Padding] = self._each("padding")
        pools: list[Pool] = self._each("pool")
        for index, (channels, kernel, stride, padding, pool) in enumerate(
            zip(self.channels, kernels, strides, paddings, pools, strict=True)
        ):
            pad = _pixels(padding, kernel)
            same = padding == "same" and stride == 1  # torch pads an even kernel by one more on one side
            both = kernel - 1 if same else 2 * pad
            side = [(length - kernel + both) // stride + 1 for length in shape[1:]]
            layer = Layer(
                f"block.{index}",
                shape,
                (channels, side[0], side[1]),
                kernel,
                True,
                self.has_bias(norms, channels, True),
                stride=stride,
                padding=both,
                pool=1 if pool == "none" else 2,
                direct=self.norm_position == "before",
            )
            yield Convolution(layer, "same" if same else pad, pool)
            shape = pooled(layer)

    def _each(self, key: str) -> list[Any]:
        """The option's value for each convolution."""
        value = getattr(self, key)
        if isinstance(value, str) or not isinstance(value, Sequence):
            return [value] * len(self.channels)
        if len(value) != len(self.channels):
            raise UsageError(
                f"model.{key}: {len(value)} values for the {len(self.channels)} convolutions of model.channels: give "
                "one for each, or a single one for all"
            )
        return list(value)

    def features(self, shape: Shape) -> int:
        """What the linear layers get of the last map."""
        return math.prod(shape) if self.head == "flatten" else shape[0]

    def build(self, image: Shape, classes: int, norms: Norms) -> nn.Module:
        """The network: images (N, C, H, W) to logits (N, classes)."""
        from torch import nn

        from normbench.models.pool import MeanPool

        pools = {"max": nn.MaxPool2d, "average": nn.AvgPool2d}
        blocks: OrderedDict[str, nn.Module] = OrderedDict()
        shape = image
        for found in self.convolutions(image, norms):
            layer = found.layer
            conv = nn.Conv2d(
                layer.inputs[0],
                layer.outputs[0],
                layer.kernel,
                stride=layer.stride,
                padding=found.padding,
                bias=layer.bias,
            )
            parts: list[tuple[str, nn.Module]] = [("conv", conv), *self.followers(norms, conv, layer)]
            if found.pool in pools:
                parts.append(("pool", pools[found.pool](2)))
            blocks[layer.name.replace(".", "")] = nn.Sequential(OrderedDict(parts))
            shape = pooled(layer)
        linear = self.linear_blocks(self.features(shape), classes, norms)
        flat = nn.Flatten() if self.head == "flatten" else MeanPool()
        return nn.Sequential(OrderedDict(**blocks, flatten=flat, **linear))


def _pixels(padding: Padding, kernel: int) -> int:
    """Pixels of zero padding on each side."""
    if isinstance(padding, int):
        return padding
    return 0 if padding == "valid" else (kernel - 1) // 2


def pooled(layer: Layer) -> Shape:
    """The shape after a layer's pooling."""
    channels, height, width = layer.outputs
    return channels, height // layer.pool, width // layer.pool
