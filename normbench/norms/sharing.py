"""Which entries of (N, C, positions) share a statistic, measured: what a figure of a norm shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from normbench.norms.registry import built, facts
from normbench.spec.registry import NORMS

IMAGES, CHANNELS, POSITIONS = 6, 6, 4  # what a figure can show
MOST = 32  # images or channels, for a norm with large parts
Shared = np.ndarray[Any, np.dtype[np.bool_]]


def shared_entries(name: str, options: Mapping[str, Any]) -> Shared:
    """Entries of the input that the output at (first image, last channel, last position) depends on, bool (N, C, P).

    Each entry is changed by itself, in float64, in training. N and C are such that every part shows twice: 6 each, or
    more for a norm with larger parts.

    Example:
        >>> found = shared_entries("instance", {})
        >>> found.shape, int(found.sum()), int(found[0, -1].sum())
        ((6, 6, 4), 4, 4)
    """
    entry = NORMS.get(name)
    values = entry.chosen(options, "model.norm_options")
    known = facts(name, values)
    images = min(MOST, max(IMAGES, 2 * known.images.fixed))
    channels = CHANNELS if CHANNELS % (known.channels.parts or 1) == 0 else min(MOST, 2 * known.channels.parts)
    if known.channels.parts == CHANNELS:
        channels = 2 * CHANNELS
    shape = (2, POSITIONS // 2) if "image" in known.layouts else (POSITIONS,)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        norm = built(entry, channels, values).double().train()
        for parameter in norm.parameters():
            if not parameter.any():  # a scale that starts at zero hides what the norm computes
                parameter.fill_(1)
        state = {key: value.clone() for key, value in norm.state_dict().items()}
        x = torch.randn(images, channels, POSITIONS, dtype=torch.float64)

        def reference(entries: torch.Tensor) -> float:
            norm.load_state_dict(state)
            output: torch.Tensor = norm(entries.view(images, channels, *shape))
            return float(output.reshape(x.shape)[0, -1, -1])

        before, found = reference(x), np.zeros(x.shape, np.bool_)
        for index in np.ndindex(*x.shape):
            changed = x.clone()
            changed[index] += 1.5
            found[index] = abs(reference(changed) - before) > 1e-9
    return found
