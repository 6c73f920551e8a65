"""A deep residual perceptron, with SkipInit or without: De & Smith 2020."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from normbench.models.registry import register_model
from normbench.spec.values import Count


class Block(nn.Module):
    """x + a W2 relu(n2(W1 relu(n1(x)))); a is 1, or with SkipInit trained from 0."""

    def __init__(self, width: int, norms: Any, skip_init: bool) -> None:
        super().__init__()
        self.first, self.second = (
            nn.Sequential(norms.build(width, spatial=False), nn.ReLU(), nn.Linear(width, width)) for _ in range(2)
        )
        self.scale = nn.Parameter(torch.zeros(())) if skip_init else None

    def forward(self, x: Tensor) -> Tensor:
        branch: Tensor = self.second(self.first(x))
        return x + (branch if self.scale is None else self.scale * branch)


@register_model("residual_mlp", norm="none")
def residual_mlp(
    image: Any, classes: int, norms: Any, *, width: Count = 128, blocks: Count = 30, skip_init: bool = False
) -> nn.Module:
    """Flatten, Linear, blocks x + a [Norm, ReLU, Linear, Norm, ReLU, Linear] of x, then Norm, ReLU, Linear.

    Source: De & Smith 2020 (arXiv 2002.10444), with linear layers for convolutions.

    Args:
        width: Units of each layer.
        blocks: Residual blocks, of two layers each.
        skip_init: Each branch is multiplied by a number that is trained, and starts at 0.
    """
    inputs = image[0] * image[1] * image[2]
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(inputs, width),
        *(Block(width, norms, skip_init) for _ in range(blocks)),
        norms.build(width, spatial=False),
        nn.ReLU(),
        nn.Linear(width, classes),
    )
