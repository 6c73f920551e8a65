"""What a probe is. No torch is imported here: a study is planned without it.

A probe is a class with typed options and a method `measure`. It is handed a copy of the network and of the batch, and
may do with them what it likes: train mode, backward passes, other weights, random numbers. The framework stops the
training clock, keeps the state of all random generators, writes what the probe returns, and cuts it back when a run
goes on from a checkpoint. A probe is no part of a run's identity: a run that lacks one is repeated with it and must
give the same numbers. Its own version is its digest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

from normbench.errors import UsageError
from normbench.spec.counts import evenly_spread
from normbench.spec.neighbours import digest_of, own_files
from normbench.spec.registry import PROBES, entry_of
from normbench.spec.values import Count, Number

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

Class = TypeVar("Class", bound="type[Probe]")


class Samples(Protocol):
    """Images of the run's data set, as the network takes them: always the same ones, whatever the seed of the run."""

    def train(self, count: int) -> tuple[Tensor, Tensor]:
        """So many training images (all at most), not augmented, (N, C, H, W), and their labels, int64 (N,)."""

    def held_out(self, count: int) -> tuple[Tensor, Tensor]:
        """So many validation images and their labels, likewise. Raises UsageError where the run has none."""

    def pixels(self, images: Tensor) -> Tensor:
        """Images as the network takes them, as pixels: 0 is black, 1 is white."""

    def standardized(self, pixels: Tensor) -> Tensor:
        """What `pixels` was made from."""


@dataclass(frozen=True)
class Moment:
    """What a probe is handed. All of it is the probe's own: copies that nothing else uses.

    Args:
        net: The network after the optimizer step, in train mode, without gradients: (N, C, H, W) to logits (N, K).
        images: The images of the last batch that this process trained on, (N, C, H, W), as the network takes them;
            before the first step, as many of `samples.train`.
        labels: Their labels, int64 (N,).
        step: Optimizer steps done.
        steps: Optimizer steps of the whole budget.
        samples: Further images; None where a probe is called by hand.
        before: The network before the last optimizer step, ready to compute what that step computed. For a probe with
            `wants_before`, from the first step on; else None.
        lr: The learning rate of the last optimizer step; NaN without `before`.
        previous: Arrays of the measurement before this one, by name; empty at the first.
        seed: The run's seed: what a probe draws for a run is drawn by it and a name.
    """

    net: nn.Module
    images: Tensor
    labels: Tensor
    step: int
    steps: int
    samples: Samples | None = None
    before: nn.Module | None = None
    lr: float = math.nan
    previous: Mapping[str, np.ndarray[Any, Any]] = field(default_factory=dict)
    seed: int = 0

    def trained_on(self, count: int) -> tuple[Tensor, Tensor]:
        """So many training images, always the same, and their labels; those of the batch without `samples`."""
        return (self.images, self.labels) if self.samples is None else self.samples.train(count)

    def held_out(self, count: int) -> tuple[Tensor, Tensor]:
        """So many validation images, always the same, and their labels; those of the batch without `samples`."""
        return (self.images, self.labels) if self.samples is None else self.samples.held_out(count)

    def pixels(self, images: Tensor) -> Tensor:
        """Images as the network takes them, as pixels from 0 to 1; without `samples` they are pixels."""
        return images if self.samples is None else self.samples.pixels(images)

    def standardized(self, pixels: Tensor) -> Tensor:
        """What `pixels` was made from."""
        return pixels if self.samples is None else self.samples.standardized(pixels)


@dataclass(frozen=True)
class Measurement:
    """What a probe returns.

    A name is QUANTITY, or LAYER/QUANTITY: `normbench probes STUDY` takes them apart at the last slash.

    Args:
        scalars: Numbers by name; they go to metrics.csv, split `probe`, as PROBE/NAME.
        arrays: Arrays by name, of the same shape each time; arrays/PROBE.npz has them stacked, and `step` beside them.
    """

    scalars: Mapping[str, float] = field(default_factory=dict)
    arrays: Mapping[str, np.ndarray[Any, Any]] = field(default_factory=dict)


class Probe:
    """A measurement taken a number of times, evenly spread over the budget, the last at its end.

    Args:
        times: How many times.
        at: Optimizer steps after which to measure, instead; 0 is before the first.
    """

    initial: ClassVar[bool] = False  # whether it measures before the first step too, unless `at` says when
    wants_before: ClassVar[bool] = False  # whether it is handed the network before the last step; costs a copy of it
    wants_held_out: ClassVar[bool] = False  # whether it needs validation images
    times: int = 10
    at: Sequence[int] = ()  # both also for a probe whose own __init__ hands nothing on

    def __init__(self, *, times: Count = 10, at: Sequence[Number] = ()) -> None:
        self.times, self.at = times, tuple(at)

    def schedule(self, steps: int) -> list[int]:
        """The optimizer steps after which to measure, of a budget of `steps`; at most one in every step."""
        if self.at:
            return sorted({step for step in self.at if step <= steps})
        return [*([0] if self.initial else []), *evenly_spread(steps, self.times)]

    def measure(self, moment: Moment) -> Measurement:
        """Measures. Every process of a run calls it; what rank 0 returns is written."""
        raise NotImplementedError


def register_probe(name: str) -> Callable[[Class], Class]:
    """Decorator that registers a probe.

    Example:
        >>> @register_probe("weight_norm")
        ... class WeightNorm(Probe):
        ...     '''Euclidean norm of all weights together.'''
        ...
        ...     def measure(self, moment):
        ...         squares = sum(float(p.detach().square().sum()) for p in moment.net.parameters())
        ...         return Measurement({"all": squares**0.5})
        >>> PROBES.remove("weight_norm")

    Raises:
        UsageError: The name cannot be that of a file, or the class is no Probe.
    """
    if not name.replace("_", "").replace("-", "").isalnum():
        raise UsageError(f"probe '{name}' names a file: use letters, digits, - and _")

    def add(probe: Class) -> Class:
        if not (isinstance(probe, type) and issubclass(probe, Probe)):
            raise UsageError(f"probe '{name}': {probe!r} is not a subclass of normbench.probes.Probe")
        PROBES.add(entry_of(name, probe))
        return probe

    return add


def digest(name: str) -> str | None:
    """Digest of the file that defines a probe, as of any plug-in; None where it was not read from a file."""
    source = Path(PROBES.get(name).source)
    return digest_of(own_files(source)) if source.is_file() else None
