"""Layers and sites as plain data: shapes, parameters and multiply-adds without building anything."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from normbench.errors import UsageError

Shape = tuple[int, int, int]
Layout = Literal["image", "tokens", "vector"]
Role = Literal["block", "shortcut", "branch end", "logits"]


@dataclass(frozen=True)
class Site:
    """A place where a norm stands.

    Args:
        name: Name of the layer before it.
        channels: Channels C of the norm's input.
        layout: image (N, C, H, W), tokens (N, C, L) or vector (N, C).
        positions: Positions of one channel of one image: H x W, L, or 1.
        role: What the place is in the network.
    """

    name: str
    channels: int
    layout: Layout
    positions: int
    role: Role = "block"


@dataclass(frozen=True)
class Layer:
    """A convolution or linear layer and what follows it.

    Args:
        name: Name of the block in the model.
        inputs: Input shape (C, H, W); a linear layer has H = W = 1, or H = L on tokens.
        outputs: Output shape (C, H, W), before pooling.
        kernel: Side of the kernel; 0 for a linear layer.
        norm: Whether the norm is applied to the outputs.
        bias: Whether the layer has a bias.
        role: What the place after it is in the network.
        stride: Stride of the kernel.
        padding: Pixels of zeros added to each axis, on both sides together.
        pool: Side and stride of the pooling after it; 1 for none.
        groups: Groups of channels that the kernel sees apart: as many as channels for a depthwise convolution.
        layout: Of the outputs; None: image behind a convolution, vector behind a linear layer.
        direct: Whether the norm takes the outputs themselves: nothing is added, and no activation stands between.
        source: Name of the layer whose outputs, pooled, are the inputs; None: the layer before.
        mixes: Whether positions have met before it, as by attention: it sees the whole image.
        scalars: Parameters besides, which a method without norm gives a residual network: see `BranchRule`.
        product_macs: Multiply-adds of products of two activations that belong to it: those of attention.
    """

    name: str
    inputs: Shape
    outputs: Shape
    kernel: int
    norm: bool
    bias: bool
    role: Role = "block"
    stride: int = 1
    padding: int = 0
    pool: int = 1
    groups: int = 1
    layout: Layout | None = None
    direct: bool = True
    source: str | None = None
    mixes: bool = False
    product_macs: int = 0
    scalars: int = 0

    @property
    def spatial(self) -> bool:
        """Whether this is a convolution."""
        return self.kernel > 0

    @property
    def site(self) -> Site | None:
        """The norm's place after this layer, if it has one."""
        if not self.norm:
            return None
        positions = self.outputs[1] * self.outputs[2]
        layout = self.layout or ("image" if self.spatial else "vector")
        return Site(self.name, self.outputs[0], layout, positions, self.role)

    @property
    def weights(self) -> int:
        """Weights of the layer, without its bias."""
        return self.outputs[0] * self.inputs[0] // self.groups * (self.kernel**2 if self.spatial else 1)

    @property
    def macs(self) -> int:
        """Multiply-adds of one image's forward pass through the convolution or linear layer."""
        return self.weights * self.outputs[1] * self.outputs[2] + self.product_macs

    @property
    def parameters(self) -> int:
        """Weights, biases and scalars of the layer, without those of its norm."""
        return self.weights + self.bias * self.outputs[0] + self.scalars

    def check(self) -> None:
        """Raises UsageError where the layer cannot be built."""
        if min(self.outputs) < 1:
            raise UsageError(
                f"model: {self.name} makes a map of {self.outputs[1]}x{self.outputs[2]} from "
                f"{self.inputs[1]}x{self.inputs[2]}: use fewer blocks, smaller kernels, or padding same"
            )


def macs(layers: Iterable[Layer]) -> int:
    """Multiply-adds of one image's forward pass (convolutions and linear layers, no norms, no bias)."""
    return sum(layer.macs for layer in layers)
