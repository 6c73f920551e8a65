"""Residual networks for small images, and the same networks without their shortcuts."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from normbench.errors import UsageError
from normbench.models.blocks import Activation, Bias, activation_layer, has_bias
from normbench.models.layer import Layer, Shape
from normbench.models.registry import register_model
from normbench.norms import Norms
from normbench.spec.values import Count

if TYPE_CHECKING:
    from torch import nn

Shortcut = Literal["identity", "projection"]


@register_model("plain")
@dataclass(frozen=True)
class Plain:
    """Conv 3x3, stages of blocks of two convolutions 3x3, mean over the map, Linear: `resnet` without shortcuts.

    The first block of every stage but the first halves the map and doubles the channels (He et al. 2016, arXiv
    1512.03385, section 4.2).

    Args:
        blocks: Blocks of each stage.
        width: Channels of the first stage; each further one has twice as many.
        activation: relu, gelu, silu, tanh or sigmoid.
        bias: Where biases are: auto drops that of a layer only where a norm directly after it cancels it exactly;
            always keeps all; never drops those before a norm; nowhere has none at all, whatever the norm.
    """

    blocks: Sequence[Count] = (3, 3, 3)
    width: Count = 16
    activation: Activation = "relu"
    bias: Bias = "auto"

    def layers(self, image: Shape, classes: int, norms: Norms) -> Iterator[Layer]:
        """The convolutions and the last linear layer."""
        stem = (self.width, *image[1:])
        yield self.convolution("stem", image, stem, norms)
        shape, source = stem, "stem"
        for name, outputs, stride in self.walk(stem):
            yield from self.block(name, source, shape, outputs, stride, norms)
            shape, source = outputs, f"{name}.conv2"
        bias = has_bias(self.bias, norms, classes, False)
        scalars = int(norms.branch is not None and norms.branch.scalar_biases)
        yield Layer("output", (shape[0], 1, 1), (classes, 1, 1), 0, False, bias, "logits", scalars=scalars)

    def walk(self, stem: Shape) -> Iterator[tuple[str, Shape, int]]:
        """Name, output shape and stride of every block."""
        _, height, width = stem
        for stage, count in enumerate(self.blocks):
            for index in range(count):
                stride = 2 if stage and not index else 1
                height, width = math.ceil(height / stride), math.ceil(width / stride)
                yield f"stage{stage}.block{index}", (self.width * 2**stage, height, width), stride

    def block(
        self, name: str, source: str, inputs: Shape, outputs: Shape, stride: int, norms: Norms
    ) -> Iterator[Layer]:
        """The layers of one block, in the order in which they compute."""
        yield self.convolution(f"{name}.conv1", inputs, outputs, norms, stride=stride, source=source)
        yield self.convolution(f"{name}.conv2", outputs, outputs, norms)

    def convolution(
        self,
        name: str,
        inputs: Shape,
        outputs: Shape,
        norms: Norms,
        *,
        stride: int = 1,
        source: str | None = None,
        end: bool = False,
    ) -> Layer:
        """A convolution 3x3 that a norm follows."""
        return Layer(
            name,
            inputs,
            outputs,
            3,
            True,
            has_bias(self.bias, norms, outputs[0], True),
            "branch end" if end else "block",
            stride=stride,
            padding=2,
            source=source,
        )

    def build(self, image: Shape, classes: int, norms: Norms) -> nn.Module:
        """The network: images (N, C, H, W) to logits (N, classes)."""
        from torch import nn

        from normbench.models.pool import MeanPool
        from normbench.models.scalars import end_network

        walk = {layer.name: layer for layer in self.layers(image, classes, norms)}
        stem = _conv(walk["stem"])
        parts: OrderedDict[str, nn.Module] = OrderedDict(stem=stem)
        parts.update(self.after_stem(stem, norms))
        last = stem
        for stage, count in enumerate(self.blocks):
            blocks: OrderedDict[str, nn.Module] = OrderedDict()
            for index in range(count):
                blocks[f"block{index}"], last = self.built_block(f"stage{stage}.block{index}", walk, last, norms)
            parts[f"stage{stage}"] = nn.Sequential(blocks)
        parts.update(self.after_blocks(last, norms))
        output = walk["output"]
        parts["pool"] = MeanPool()
        linear = nn.Linear(output.inputs[0], classes, bias=output.bias)
        if norms.branch is not None:
            end_network(linear, norms.branch)
        parts["output"] = linear
        return nn.Sequential(parts)

    def after_stem(self, stem: nn.Conv2d, norms: Norms) -> list[tuple[str, nn.Module]]:
        """What stands between the first convolution and the blocks."""
        return norms.after(stem, activation_layer(self.activation), stem.out_channels)

    def built_block(
        self, name: str, walk: dict[str, Layer], before: nn.Conv2d, norms: Norms
    ) -> tuple[nn.Module, nn.Conv2d]:
        """A block, and its last convolution. `before` is the convolution whose output comes in."""
        from torch import nn

        parts: list[tuple[str, nn.Module]] = []
        for index in (1, 2):
            conv = _conv(walk[f"{name}.conv{index}"])
            after = norms.after(conv, activation_layer(self.activation), conv.out_channels)
            parts += [(f"conv{index}", conv), *((f"{key}{index}", part) for key, part in after)]
        return nn.Sequential(OrderedDict(parts)), conv

    def after_blocks(self, last: nn.Conv2d, norms: Norms) -> list[tuple[str, nn.Module]]:
        """What stands between the blocks and the mean over the map."""
        return []


@register_model("resnet", presets={"resnet8": {"blocks": (1, 1, 1)}, "resnet20": {"blocks": (3, 3, 3)}}, branches=True)
@dataclass(frozen=True)
class ResNet(Plain):
    """Residual network of CIFAR's style: Conv 3x3, stages of blocks y = x + branch(x), mean over the map, Linear.

    Basic blocks are [Conv, Norm, Act, Conv, Norm] + x, Act (He et al. 2016, arXiv 1512.03385, section 4.2: depth is
    2 + 2 x the number of blocks); with `preactivation` they are [Norm, Act, Conv, Norm, Act, Conv] + x, and a last
    Norm, Act stand before the mean (He et al. 2016, arXiv 1603.05027). The first block of every stage but the first
    halves the map and doubles the channels. It takes `skip_init` and `fixup` in place of a norm.

    Args:
        blocks: Blocks of each stage.
        width: Channels of the first stage; each further one has twice as many.
        activation: relu, gelu, silu, tanh or sigmoid.
        preactivation: Norm and activation before each convolution, so that the shortcuts carry x through unchanged.
        shortcut: Where the shape changes: identity (every second pixel, and zeros for the new channels: the paper's
            option A, without parameters), or projection (convolution 1x1 with a norm after it: option B).
        zero_gamma: The norm at the end of each branch starts with a scale of zero, so that every block starts as its
            shortcut (Goyal et al. 2017, arXiv 1706.02677, section 5.1); a norm without a scale is left as it is.
        bias: Where biases are: auto drops that of a layer only where a norm directly after it cancels it exactly;
            always keeps all; never drops those before a norm; nowhere has none at all, whatever the norm.
    """

    preactivation: bool = False
    shortcut: Shortcut = "identity"
    zero_gamma: bool = False

    def __post_init__(self) -> None:
        if self.preactivation and self.zero_gamma:
            raise UsageError("model.zero_gamma: no norm ends the branches of preactivation=true: leave one of them out")

    def block(
        self, name: str, source: str, inputs: Shape, outputs: Shape, stride: int, norms: Norms
    ) -> Iterator[Layer]:
        """The layers of one block, in the order in which they compute."""
        if self.shortcut == "projection" and inputs != outputs:
            # With preactivation the projection is added bare, as it is in that paper.
            bias = has_bias(self.bias, norms, outputs[0], not self.preactivation)
            # Scalar biases: one after it would be added to the one that ends the branch.
            normed = not self.preactivation and not (norms.branch is not None and norms.branch.scalar_biases)
            yield Layer(f"{name}.shortcut", inputs, outputs, 1, normed, bias, "shortcut", stride=stride, source=source)
        first = self.convolution(f"{name}.conv1", inputs, outputs, norms, stride=stride, source=source)
        last = self.convolution(f"{name}.conv2", outputs, outputs, norms, end=not self.preactivation)
        if self.preactivation:  # the next norm takes the sum with the shortcut
            last = replace(last, direct=False, bias=has_bias(self.bias, norms, outputs[0], True, False))
        if norms.branch is not None:
            first = replace(first, scalars=norms.branch.parameters(last=False))
            last = replace(last, scalars=norms.branch.parameters(last=True))
        yield from (first, last)

    def after_stem(self, stem: nn.Conv2d, norms: Norms) -> list[tuple[str, nn.Module]]:
        """Norm and activation, or with preactivation nothing: the first block begins with them."""
        return [] if self.preactivation else super().after_stem(stem, norms)

    def built_block(
        self, name: str, walk: dict[str, Layer], before: nn.Conv2d, norms: Norms
    ) -> tuple[nn.Module, nn.Conv2d]:
        """A block, and its last convolution. `before` is the convolution whose output comes in."""
        from normbench.models.residual import BasicBlock, IdentityShortcut, PreactivatedBlock, zero_scale
        from normbench.models.scalars import build_branch

        def act() -> nn.Module:
            return activation_layer(self.activation)

        one, two = _conv(walk[f"{name}.conv1"]), _conv(walk[f"{name}.conv2"])
        if norms.branch is not None:
            build_branch([one, two], norms.branch, sum(self.blocks))
        projection = walk.get(f"{name}.shortcut")
        shortcut: list[tuple[str, nn.Module]] = []
        if projection is not None:
            conv = _conv(projection)
            shortcut = [("conv", conv)] + (norms.after(conv, None, conv.out_channels) if projection.norm else [])
        elif walk[f"{name}.conv1"].inputs != walk[f"{name}.conv1"].outputs:
            shortcut = [("identity", IdentityShortcut(one.stride[0], one.out_channels - one.in_channels))]
        between = norms.after(one, act(), one.out_channels)
        if self.preactivation:
            first = norms.after(before, act(), before.out_channels)
            return PreactivatedBlock(first, one, between, two, shortcut, projection is not None), two
        end = norms.after(two, None, two.out_channels)
        if self.zero_gamma:
            zero_scale(end[0][1])
        return BasicBlock(one, between, two, end, shortcut, act()), two

    def after_blocks(self, last: nn.Conv2d, norms: Norms) -> list[tuple[str, nn.Module]]:
        """With preactivation the last norm and activation."""
        if not self.preactivation:
            return []
        return norms.after(last, activation_layer(self.activation), last.out_channels)


def _conv(layer: Layer) -> nn.Conv2d:
    from torch import nn

    return nn.Conv2d(
        layer.inputs[0],
        layer.outputs[0],
        layer.kernel,
        stride=layer.stride,
        padding=layer.kernel // 2,
        bias=layer.bias,
    )
