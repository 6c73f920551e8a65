"""Plain convolutional networks."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from normbench.models.blocks import Blocks
from normbench.models.layer import Layer, Shape
from normbench.models.registry import register_model
from normbench.norms import Norms
from normbench.spec.values import Count, Number

if TYPE_CHECKING:
    from torch import nn


STRIDED = {"norm": "none", "channels": (8, 16, 32, 64, 64), "stride": 2, "pool": "none", "hidden": ()}


@register_model(
    "cnn",
    presets={
        "digit_cnn": {"norm": "none"},
        "digit_cnn_bn": {"norm": "batch", "dropout": 0.5},
        "strided_cnn": STRIDED,  # the last map of a 28 x 28 image is 1 x 1: few values for a statistic
    },
)
@dataclass(frozen=True)
class CNN(Blocks):
    """[Conv, Norm, Activation, Pool] x N, Flatten, [Linear, (Norm), Activation, Dropout] x M, Linear.

    Args:
        channels: Output channels of each convolution.
        kernel_size: Side of the square kernels.
        padding: Zero padding of the convolutions: same, valid, or a number of pixels.
        stride: Stride of the convolutions.
        pool: Pooling 2x2 after each block: max, average or none.
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
    kernel_size: Count = 3
    padding: Literal["same", "valid"] | Number = "same"
    stride: Count = 1
    pool: Literal["max", "average", "none"] = "max"

    def layers(self, image: Shape, classes: int, norms: Norms) -> Iterator[Layer]:
        """The convolutions, pools that leave nothing, and the linear layers."""
        shape = image
        for layer in self.conv_layers(image, norms):
            yield layer
            shape = self.pooled(layer.outputs)
            if min(shape) < 1 <= min(layer.outputs):
                # Said by the layer's own check: nothing is left to flatten.
                yield Layer(f"the pool of {layer.name}", layer.outputs, shape, 2, False, False)
        yield from self.linear_layers(math.prod(shape), classes, norms)

    def conv_layers(self, image: Shape, norms: Norms) -> Iterator[Layer]:
        """The convolutions. An output side is floor((W - K + 2P) / S) + 1."""
        shape = image
        for index, channels in enumerate(self.channels):
            side = [(length - self.kernel_size + 2 * self.pad) // self.stride + 1 for length in shape[1:]]
            if self.padding == "same" and self.stride == 1 and self.kernel_size % 2 == 0:
                side = [length + 1 for length in side]  # torch pads an even kernel by one more on one side
            outputs = (channels, side[0], side[1])
            yield Layer(f"block.{index}", shape, outputs, self.kernel_size, True, self.has_bias(norms, channels, True))
            shape = self.pooled(outputs)

    @property
    def pad(self) -> int:
        """Pixels of zero padding on each side."""
        if isinstance(self.padding, int):
            return self.padding
        return 0 if self.padding == "valid" else (self.kernel_size - 1) // 2

    def pooled(self, shape: Shape) -> Shape:
        """The shape after a block's pooling."""
        return shape if self.pool == "none" else (shape[0], shape[1] // 2, shape[2] // 2)

    def build(self, image: Shape, classes: int, norms: Norms) -> nn.Module:
        """The network: images (N, C, H, W) to logits (N, classes)."""
        from torch import nn

        pools = {"max": nn.MaxPool2d, "average": nn.AvgPool2d}
        padding = "same" if self.padding == "same" and self.stride == 1 else self.pad
        blocks: OrderedDict[str, nn.Module] = OrderedDict()
        shape = image
        for layer in self.conv_layers(image, norms):
            conv = nn.Conv2d(
                layer.inputs[0],
                layer.outputs[0],
                layer.kernel,
                stride=self.stride,
                padding=padding,
                bias=layer.bias,
            )
            parts: list[tuple[str, nn.Module]] = [("conv", conv), *self.followers(norms, conv, layer)]
            if self.pool in pools:
                parts.append(("pool", pools[self.pool](2)))
            blocks[layer.name.replace(".", "")] = nn.Sequential(OrderedDict(parts))
            shape = self.pooled(layer.outputs)
        linear = self.linear_blocks(math.prod(shape), classes, norms)
        return nn.Sequential(OrderedDict(**blocks, flatten=nn.Flatten(), **linear))
