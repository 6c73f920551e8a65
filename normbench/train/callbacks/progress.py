"""Where a run stands in its budget: the small state that curves, clock, divergence and checkpoints share."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass


@dataclass
class Position:
    """A run's budget, and how much of it is done.

    Args:
        steps: Optimizer steps of the whole budget.
        batch_size: Global batch: images of an optimizer step.
        epoch_samples: Images trained on in an epoch.
        step: Optimizer steps done.
    """

    steps: int
    batch_size: int
    epoch_samples: int
    step: int = 0

    @property
    def samples(self) -> int:
        """Images trained on so far."""
        return self.step * self.batch_size

    @property
    def epochs(self) -> float:
        """Epochs done, a fraction in the middle of one."""
        return self.samples / self.epoch_samples


class Schedule:
    """Steps at which something happens, in order.

    Args:
        steps: The steps, ascending.

    Example:
        >>> schedule = Schedule([3, 6])
        >>> 3 in schedule, schedule.after(3), schedule.after(6)
        (True, 6, None)
    """

    def __init__(self, steps: list[int]) -> None:
        self.steps = steps
        self._known = frozenset(steps)

    def __contains__(self, step: int) -> bool:
        return step in self._known

    def after(self, step: int) -> int | None:
        """The next of the steps after `step`, or None."""
        place = bisect_right(self.steps, step)
        return self.steps[place] if place < len(self.steps) else None
