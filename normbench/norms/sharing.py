"""Which entries of (N, C, positions) share a statistic, measured: what a figure of a norm shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from normbench.norms.registry import built, facts
from normbench.norms.response import seeded
from normbench.spec.registry import NORMS

IMAGES, CHANNELS, POSITIONS = 6, 6, 4  # what a figure can show
MOST = 32  # images or channels, for a norm with large parts
DRAWS = 2  # inputs that are tried, each with both signs: a threshold hides some values of each
Shared = np.ndarray[Any, np.dtype[np.bool_]]
Index = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Pattern:
    """One way in which the outputs of a norm depend on its inputs.

    Args:
        output: The output that stands for all with this pattern: image, channel, position.
        shared: Entries of the input that it depends on, bool (N, C, P).
        share: Share of all outputs that have this pattern.
    """

    output: Index
    shared: Shared
    share: float


def shared_entries(name: str, options: Mapping[str, Any]) -> Shared:
    """Entries of the input that the commonest kind of output depends on, bool (N, C, P): see `patterns`.

    Example:
        >>> found = shared_entries("instance", {})
        >>> found.shape, int(found.sum()), int(found[0, -1].sum())
        ((6, 6, 4), 4, 4)
    """
    return patterns(name, options)[0].shared


def patterns(name: str, options: Mapping[str, Any]) -> list[Pattern]:
    """The different ways in which outputs depend on inputs, the commonest first, of equals the widest.

    Two outputs have one pattern where they depend on equally many entries, images, channels and positions: at the edge
    of a window fewer channels count than in its middle. The one that stands for a pattern is, where there is such a
    one, of the first image and the last position, and of the last channel: those are what a figure shows.

    Example:
        >>> [(found.output, int(found.shared.sum())) for found in patterns("local_response", {})]
        [((0, 3, 3), 5), ((0, 4, 3), 4), ((0, 5, 3), 3)]
    """
    reached = dependence(name, options)
    shape = reached.shape[:3]
    outputs: dict[tuple[int, ...], list[Index]] = {}
    for index in np.ndindex(*shape):
        found = reached[index]
        extents = (int(found.any(axes).sum()) for axes in ((1, 2), (0, 2), (0, 1)))
        outputs.setdefault((int(found.sum()), *extents), []).append((index[0], index[1], index[2]))
    order = sorted(outputs, key=lambda kind: (-len(outputs[kind]), -kind[0], kind))
    return [
        Pattern(best, reached[best], len(outputs[kind]) / int(np.prod(shape)))
        for kind in order
        for best in [max(outputs[kind], key=lambda index: (-index[0], index[2], index[1]))]
    ]


def dependence(name: str, options: Mapping[str, Any]) -> Shared:
    """Which outputs depend on which inputs, bool (N, C, P of the output, N, C, P of the input).

    Each entry is changed by itself, in float64, in training, on several inputs: a threshold, as that of filter response
    normalization, lets some values of each through. Parameters that start at zero are tried as they are and as ones: a
    scale of zero hides what the norm computes. N and C are such that every part shows twice: 6 each, or more for a
    norm with larger parts.
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
        found = np.zeros((images, channels, POSITIONS) * 2, np.bool_)
        drawn = [torch.randn(images, channels, *shape, dtype=torch.float64) for _ in range(DRAWS)]
        inputs = [sign * x for x in drawn for sign in (1, -1)]
        for x in inputs:
            found |= _reached(norm, x)
        closed = [parameter for parameter in norm.parameters() if parameter.numel() and not parameter.any()]
        for parameter in closed:
            parameter.fill_(1)
        for x in inputs if closed else []:
            found |= _reached(norm, x)
    return found


def _reached(norm: nn.Module, x: torch.Tensor) -> Shared:
    """Which outputs change with which entry of one input; the norm's own state stays as it was."""
    state = {key: value.clone() for key, value in norm.state_dict().items()}

    def output(entries: torch.Tensor) -> np.ndarray[Any, Any]:
        norm.load_state_dict(state)
        with seeded():
            y: torch.Tensor = norm(entries.clone().view_as(x))
        return np.asarray(y.reshape(flat.shape))

    flat = x.flatten(2)
    before = output(flat)
    found = np.zeros((*flat.shape, *flat.shape), np.bool_)
    for index in np.ndindex(*flat.shape):
        changed = flat.clone()
        changed[index] += 1.5
        found[(..., *index)] = np.abs(output(changed) - before) > 1e-9
    return found
