"""ConvNeXt for small images."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from normbench.models.blocks import Activation, Bias, activation_layer, has_bias
from normbench.models.layer import Layer, Shape
from normbench.models.registry import register_model
from normbench.norms import Norms
from normbench.spec.values import Count

if TYPE_CHECKING:
    from torch import nn

KERNEL, WIDER = 7, 4  # of the depthwise convolution, and of the hidden layer of a block (sections 2.5 and 2.4)


@register_model("convnext", norm="layer", presets={"convnext_tiny": {"blocks": (1, 1, 1), "width": 16}}, branches=True)
@dataclass(frozen=True)
class ConvNeXt:
    """Patches, Norm, stages of x + [depthwise Conv 7x7, Norm, Conv 1x1, Act, Conv 1x1](x), Norm, mean, Linear.

    Liu et al. 2022 (arXiv 2201.03545), for small images: narrow, without layer scale and stochastic depth, and with
    the last norm before the mean over the map instead of after it, so that it has a map to average over. Before every
    stage but the first a Norm and a convolution 2x2 of stride 2 halve the map and double the channels. It takes
    `skip_init` and `fixup` in place of a norm.

    Args:
        blocks: Blocks of each stage.
        width: Channels of the first stage; each further one has twice as many.
        patch: Side of the patches (4 in the paper, whose images are larger).
        activation: relu, gelu, silu, tanh or sigmoid.
        bias: Where biases are: auto drops that of a layer only where a norm directly after it cancels it exactly;
            always keeps all; never drops those before a norm; nowhere has none at all, whatever the norm.
    """

    blocks: Sequence[Count] = (2, 2, 2)
    width: Count = 32
    patch: Count = 2
    activation: Activation = "gelu"
    bias: Bias = "auto"

    def layers(self, image: Shape, classes: int, norms: Norms) -> Iterator[Layer]:
        """The convolutions and the last linear layer."""

        def conv(
            name: str, inputs: Shape, channels: int, kernel: int, stride: int, normed: bool, direct: bool
        ) -> Layer:
            side = [length if stride == 1 else length // stride for length in inputs[1:]]
            groups, padding = (inputs[0], kernel - 1) if name.endswith("depthwise") else (1, 0)
            branch = norms.branch if "block" in name else None
            bias = has_bias(self.bias, norms, channels, normed or branch is not None, direct)
            outputs = (channels, side[0], side[1])
            return Layer(
                name,
                inputs,
                outputs,
                kernel,
                normed,
                bias,
                stride=stride,
                groups=groups,
                direct=direct,
                padding=padding,
                scalars=branch.parameters(last=name.endswith("down")) if branch is not None else 0,
            )

        shape = image
        for stage, count in enumerate(self.blocks):
            kernel, channels = 2 if stage else self.patch, self.width * 2**stage
            # The first stage's patches are normalised themselves, and every stage's last sum before the next patches.
            reduced = conv(f"stage{stage}.patches", shape, channels, kernel, kernel, not stage, not stage)
            yield reduced
            shape = reduced.outputs
            for index in range(count):
                name, last = f"stage{stage}.block{index}", index == count - 1
                yield conv(f"{name}.depthwise", shape, channels, KERNEL, 1, True, True)
                yield conv(f"{name}.up", shape, channels * WIDER, 1, 1, False, False)
                yield conv(f"{name}.down", (channels * WIDER, *shape[1:]), channels, 1, 1, last, False)
        bias = has_bias(self.bias, norms, classes, False)
        yield Layer("output", (shape[0], 1, 1), (classes, 1, 1), 0, False, bias, "logits")

    def build(self, image: Shape, classes: int, norms: Norms) -> nn.Module:
        """The network: images (N, C, H, W) to logits (N, classes)."""
        from torch import nn

        from normbench.models.pool import MeanPool
        from normbench.models.residual import AddedTo
        from normbench.models.scalars import build_branch, end_network

        walk = {layer.name: layer for layer in self.layers(image, classes, norms)}

        def conv(name: str) -> nn.Conv2d:
            layer = walk[name]
            sizes = layer.inputs[0], layer.outputs[0], layer.kernel
            pad, groups = layer.padding // 2, layer.groups
            return nn.Conv2d(*sizes, stride=layer.stride, padding=pad, groups=groups, bias=layer.bias)

        parts: OrderedDict[str, nn.Module] = OrderedDict()
        for stage, count in enumerate(self.blocks):
            inside: OrderedDict[str, nn.Module] = OrderedDict(patches=conv(f"stage{stage}.patches"))
            if not stage:
                inside.update(norms.after(inside["patches"], None, self.width))
            channels = self.width * 2**stage
            for index in range(count):
                name = f"stage{stage}.block{index}"
                depthwise, up, down = (conv(f"{name}.{key}") for key in ("depthwise", "up", "down"))
                if norms.branch is not None:  # the norm's place is before `up`
                    layers = depthwise, up, down
                    build_branch(layers, norms.branch, sum(self.blocks), before=(depthwise, down), after=(up,))
                block = OrderedDict(depthwise=depthwise, **dict(norms.after(depthwise, None, channels)))
                block.update(up=up, act=activation_layer(self.activation), down=down)
                inside[f"block{index}"] = AddedTo(block)
            inside.update((f"{key}_end", part) for key, part in norms.after(down, None, channels))
            parts[f"stage{stage}"] = nn.Sequential(inside)
        output = nn.Linear(walk["output"].inputs[0], classes, bias=walk["output"].bias)
        if norms.branch is not None:
            end_network(output, norms.branch, biased=False)  # the mean of what the last norm's place has shifted
        return nn.Sequential(OrderedDict(**parts, pool=MeanPool(), output=output))
