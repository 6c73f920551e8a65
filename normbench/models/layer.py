"""Layers and sites as plain data: shapes, parameters and multiply-adds without building anything."""

from __future__ import annotations

import math
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
        inputs: Input shape (C, H, W); a linear layer has H = W = 1.
        outputs: Output shape (C, H, W), before pooling.
        kernel: Side of the kernel; 0 for a linear layer.
        norm: Whether the norm is applied to the outputs.
        bias: Whether the layer has a bias.
        role: What the place after it is in the network.
    """

    name: str
    inputs: Shape
    outputs: Shape
    kernel: int
    norm: bool
    bias: bool
    role: Role = "block"

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
        return Site(self.name, self.outputs[0], "image" if self.spatial else "vector", positions, self.role)

    @property
    def macs(self) -> int:
        """Multiply-adds of one image's forward pass through the convolution or linear layer."""
        return math.prod(self.outputs) * self.inputs[0] * (self.kernel**2 if self.spatial else 1)

    @property
    def parameters(self) -> int:
        """Weights and biases of the layer, without those of its norm."""
        weights = self.outputs[0] * self.inputs[0] * (self.kernel**2 if self.spatial else 1)
        return weights + self.bias * self.outputs[0]

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
