"""What leaves a norm's output as it is: a factor or a shift of its input, of all of it, a channel, an image, each."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from normbench.norms.trial import Trial, output

# What each factor or shift belongs to, as axes of (N, C) that it varies over.
PARTS: dict[str, tuple[bool, bool]] = {
    "the whole batch": (False, False),
    "each image": (True, False),
    "each channel": (False, True),
    "each channel of each image": (True, True),
}
EXACT, ROUGH = 1e-6, 0.1  # relative, for inputs a thousand times larger than eps can touch; and for ordinary ones


def scale_invariant(trial: Trial) -> list[str]:
    """The parts of its input that can be multiplied by positive numbers without an effect in training, eps aside."""
    return _without_effect(trial, lambda x, by: x * by, larger=True)


def shift_invariant(trial: Trial) -> list[str]:
    """The parts of its input that a number can be added to without an effect in training."""
    return _without_effect(trial, lambda x, by: x + by, larger=False)


def _without_effect(trial: Trial, change: Callable[[Tensor, Tensor], Tensor], larger: bool) -> list[str]:
    layout = trial.layouts[0]
    net, x = trial.net(layout), trial.input(layout)
    net = net[-1] if trial.weights and isinstance(net, nn.Sequential) else net  # without the layer before it
    found = []
    with torch.no_grad():
        for name, (images, channels) in PARTS.items():
            make = torch.Generator().manual_seed(3)
            shape = (len(x) if images else 1, x.shape[1] if channels else 1, *[1] * (x.dim() - 2))
            by = 0.5 + 3 * torch.rand(shape, generator=make, dtype=x.dtype)
            # A function that saturates gives the same for all large inputs: ordinary ones tell it apart.
            pairs = [(x, ROUGH), (1e4 * x, EXACT)] if larger else [(x, EXACT)]
            if all(_near(output(net, change(z, by)), output(net, z), limit) for z, limit in pairs):
                found.append(name)
    return found


def _near(one: Tensor, other: Tensor, limit: float) -> bool:
    return float((one - other).abs().max()) <= limit * float(other.abs().max())
