"""What a probe is. No torch is imported here: a study is planned without it.

A probe is a class with typed options and a method `measure`. It is handed a copy of the network and of the batch, and
may do with them what it likes: train mode, backward passes, other weights, random numbers. The framework stops the
training clock, keeps the state of all random generators, writes what the probe returns, and cuts it back when a run
goes on from a checkpoint. A probe is no part of a run's identity: a run that lacks one is repeated with it and must
give the same numbers. Its own version is its digest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from normbench.errors import UsageError
from normbench.spec.counts import evenly_spread
from normbench.spec.neighbours import digest_of, own_files
from normbench.spec.registry import PROBES, entry_of
from normbench.spec.values import Count

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

Class = TypeVar("Class", bound="type[Probe]")


@dataclass(frozen=True)
class Moment:
    """What a probe is handed. All of it is the probe's own: copies that nothing else uses.

    Args:
        net: The network after the optimizer step, in train mode, without gradients: (N, C, H, W) to logits (N, K).
        images: The images of the last batch that this process trained on, (N, C, H, W), as the network takes them.
        labels: Their labels, int64 (N,).
        step: Optimizer steps done.
        steps: Optimizer steps of the whole budget.
    """

    net: nn.Module
    images: Tensor
    labels: Tensor
    step: int
    steps: int


@dataclass(frozen=True)
class Measurement:
    """What a probe returns.

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
    """

    def __init__(self, *, times: Count = 10) -> None:
        self.times = times

    def schedule(self, steps: int) -> list[int]:
        """The optimizer steps after which to measure, of a budget of `steps`; at most one in every step."""
        return evenly_spread(steps, self.times)

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
