"""Layers as plain data: shapes, parameters and multiply-adds without building anything."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from normbench.errors import UsageError
from normbench.norms.registry import check_norm, get_norm

if TYPE_CHECKING:
    from normbench.spec.schema import ModelConfig

Shape = tuple[int, int, int]


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
    """

    name: str
    inputs: Shape
    outputs: Shape
    kernel: int
    norm: bool
    bias: bool

    @property
    def spatial(self) -> bool:
        """Whether this is a convolution."""
        return self.kernel > 0

    @property
    def macs(self) -> int:
        """Multiply-adds of one image's forward pass through the convolution or linear layer."""
        return math.prod(self.outputs) * self.inputs[0] * (self.kernel**2 if self.spatial else 1)

    def parameters(self, norm: str) -> int:
        """Weights and biases of the layer and of its norm (gamma and beta)."""
        weights = self.outputs[0] * self.inputs[0] * (self.kernel**2 if self.spatial else 1)
        gamma_beta = 2 * self.outputs[0] if self.norm and norm != "none" else 0
        return weights + self.bias * self.outputs[0] + gamma_beta

    def check(self, config: ModelConfig) -> None:
        """Raises UsageError where the layer or its norm cannot be built."""
        if min(self.outputs) < 1:
            raise UsageError(
                f"model: {self.name} makes a map of {self.outputs[1]}x{self.outputs[2]} from "
                f"{self.inputs[1]}x{self.inputs[2]}: use fewer blocks, smaller kernels, or padding same"
            )
        if self.norm:
            assert config.norm is not None
            check_norm(config.norm, self.outputs[0], self.spatial, config.norm_options)
            if self.spatial and not get_norm(config.norm).linear and self.outputs[1] * self.outputs[2] < 2:
                raise UsageError(
                    f"norm '{config.norm}' has nothing to average on the 1x1 map of {self.name}: "
                    "choose another norm, or a larger map"
                )


def has_bias(config: ModelConfig, channels: int, norm: bool) -> bool:
    """Whether a layer has a bias, where `norm` says that the norm follows it."""
    if config.bias == "auto":
        assert config.norm is not None
        before = config.norm_position == "before"
        return not (norm and before and get_norm(config.norm).cancels(channels, config.norm_options))
    return not norm or config.bias == "always" or config.norm == "none"


def layers(config: ModelConfig) -> list[Layer] | None:
    """The layers of a resolved model, or None where it is only known once built."""
    from normbench.models.registry import CLASSES, IMAGE, get_model

    walk = get_model(config.name).layers
    return list(walk(config, IMAGE, CLASSES)) if walk else None


def cost(walk: Iterable[Layer]) -> int:
    """Multiply-adds of one image's forward pass (convolutions and linear layers, no norms, no bias)."""
    return sum(layer.macs for layer in walk)
