"""A norm made ready to be tried: modules and inputs of every layout that it takes."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from normbench.errors import UsageError
from normbench.norms.contract import FollowsSteps, Reparametrizes
from normbench.norms.facts import Facts
from normbench.norms.measure import channel_counts
from normbench.norms.registry import built
from normbench.norms.response import seeded
from normbench.spec.registry import Entry

LAYOUTS = {"image": "(N, C, H, W)", "tokens": "(N, C, L)", "vector": "(N, C)"}
SHAPES: dict[str, tuple[int, ...]] = {"image": (5, 3), "tokens": (7,), "vector": ()}
FEW: dict[str, tuple[int, ...]] = {"image": (2, 2), "tokens": (3,), "vector": ()}  # for finite differences
CHANNELS = (8, 16, 12, 6, 4, 24, 32)
IMAGES = (8, 6, 12, 4, 2, 16, 32, 64)  # even, so that two devices can share them
STEPS = 100  # that a norm which is told the step believes in


class Trial:
    """A norm with its options, its parameters moved a little from where they start, and its state by two batches.

    A norm of weights comes with a layer before it.

    Args:
        entry: The norm.
        options: All of its options.
        facts: What is measured of it.

    Raises:
        UsageError: No number of channels and images suits all layouts that it takes.
    """

    def __init__(self, entry: Entry, options: Mapping[str, Any], facts: Facts) -> None:
        self.entry, self.options, self.facts = entry, options, facts
        self.weights = isinstance(built(entry, self._any_channels(), options), Reparametrizes)
        # A layer before the norm is a convolution or a linear one.
        self.layouts = [name for name in facts.layouts if not (self.weights and name == "tokens")]
        self.channels, self.images = self._fitting()

    def _any_channels(self) -> int:
        return max(1, self.facts.channels.parts)

    def _fitting(self) -> tuple[int, int]:
        error: Exception | None = None
        for channels in (*CHANNELS, *channel_counts(self.options)):
            for images in IMAGES:
                self.channels, self.images = channels, images
                try:
                    for layout in self.layouts:
                        self.net(layout)
                        self.fresh(layout)(self.input(layout, few=True))
                except Exception as refused:  # a user's norm may refuse in its own way
                    error = refused
                else:
                    return channels, images
        raise UsageError(f"norm '{self.entry.name}': no number of channels and images suits it everywhere: {error}")

    def fresh(self, layout: str, virtual_devices: int = 1, channels: int = 0) -> nn.Module:
        """The norm as it starts, in float64, in training; with so many channels, or those of the trial."""
        torch.manual_seed(0)
        spatial, width = layout == "image", channels or self.channels
        net = built(self.entry, width, self.options, spatial, virtual_devices)
        if isinstance(net, Reparametrizes):
            layer: nn.Module = nn.Conv2d(width, width, 3, padding=1) if spatial else nn.Linear(width, width)
            net.reparametrize(layer)
            net = nn.Sequential(layer, net)
        for module in net.modules():
            if isinstance(module, FollowsSteps):
                module.set_step(0, STEPS)
        return net.double().train()

    def net(self, layout: str, virtual_devices: int = 1) -> nn.Module:
        """The norm as it is tried, in float64, in training."""
        net, make = self.fresh(layout, virtual_devices), torch.Generator().manual_seed(9)
        with torch.no_grad():
            for parameter in net.parameters():
                moved = 0.05 + 0.1 * torch.rand(parameter.shape, generator=make, dtype=parameter.dtype)
                parameter.add_(torch.where(parameter == 0, moved, moved * parameter))
            for seed in (5, 6):
                net(self.input(layout, seed))
        return net

    def input(self, layout: str, seed: int = 0, few: bool = False, times: int = 1) -> Tensor:
        """An input in float64, whose channels and images differ in mean and scale.

        Args:
            layout: "image" (N, C, H, W), "tokens" (N, C, L) or "vector" (N, C).
            seed: Of its numbers.
            few: With few positions.
            times: So many times the images.
        """
        shape = (FEW if few else SHAPES)[layout]
        make = torch.Generator().manual_seed(seed)
        count = times * self.images
        x = torch.randn((count, self.channels, *shape), generator=make, dtype=torch.float64)
        across = (1, -1, *[1] * len(shape))
        x = x * torch.linspace(0.5, 2, self.channels).double().view(across)
        x = x + torch.linspace(0, 4, self.channels).double().view(across)
        return x * torch.linspace(0.7, 1.5, count).double().view(-1, *[1] * (x.dim() - 1))


def output(net: nn.Module, x: Tensor) -> Tensor:
    """The output for `x`, of whatever shape, which a point of the contract is to see (`response.run` refuses another).

    The state of `net` stays as it was, and so does `x`.
    """
    with seeded():
        y: Tensor = copy.deepcopy(net)(x.clone())
    return y
