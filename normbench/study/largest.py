"""The largest learning rate that still trains, of each cell of a study: which rates to try, and what came of them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from normbench.errors import UsageError
from normbench.study.file import Level, Skip, Study
from normbench.study.plan import PlannedRun, make_plan
from normbench.study.rates import RATE

if TYPE_CHECKING:
    from normbench.store import Store

NAME = "-largest-rate"  # what the name of the study that tries rates ends with
METRIC = "test_accuracy"
State = Literal["bracketed", "searching", "all train", "none trains"]


@dataclass
class Search:
    """The search in one cell. Rates above one that does not train are taken not to train.

    Args:
        cell: Labels of the axes but that of the rate.
        grid: The rates, ascending.
        start: Place in the grid where the search begins.
        trains: By place, whether all seeds train.

    Example:
        >>> search = Search({}, tuple(Level(rate, {"optimizer.lr": rate}) for rate in (0.1, 0.2, 0.4, 0.8)), 1)
        >>> search.next
        1
        >>> search.trains[1] = True
        >>> search.next
        2
        >>> search.trains[2] = False
        >>> search.next, search.largest, search.fails, search.state
        (None, 0.2, 0.4, 'bracketed')
    """

    cell: Mapping[str, Any]
    grid: tuple[Level, ...]
    start: int
    trains: dict[int, bool] = field(default_factory=dict)

    @property
    def next(self) -> int | None:
        """The place to try next: one above the largest that trains, or below all that do not; None: there is none."""
        good = [place for place, trains in self.trains.items() if trains]
        if not self.trains:
            return self.start
        place = max(good) + 1 if good else min(self.trains) - 1
        return place if 0 <= place < len(self.grid) and place not in self.trains else None

    @property
    def largest(self) -> float:
        """The largest rate that trains; NaN: there is none yet."""
        return max((self.rate(place) for place, trains in self.trains.items() if trains), default=math.nan)

    @property
    def fails(self) -> float:
        """The smallest rate that does not train; NaN: there is none yet."""
        return min((self.rate(place) for place, trains in self.trains.items() if not trains), default=math.nan)

    @property
    def state(self) -> State:
        """How the search stands: an end of the grid may be reached before the rate is bracketed."""
        if self.next is not None:
            return "searching"
        if math.isnan(self.fails):
            return "all train"
        return "none trains" if math.isnan(self.largest) else "bracketed"

    def rate(self, place: int) -> float:
        """The learning rate at a place of the grid."""
        return float(self.grid[place].changes[RATE])


def rate_axis(study: Study) -> str:
    """The study's axis of learning rates; `optimizer.lr` where it has none. Raises UsageError for a mixed one."""
    axes = [
        axis
        for axis, levels in study.axes.items()
        if any(RATE in level.changes or level.rates is not None for level in levels)
    ]
    if not axes:
        return RATE
    axis = axes[0]
    if len(axes) > 1 or any(set(level.changes) != {RATE} or level.rates for level in study.axes[axis]):
        raise UsageError(
            f"{study.path}: axis {axis} sets {RATE} beside others, or takes it from a file: rates are tried on an axis "
            f"that is a list of them, or where no axis sets {RATE}"
        )
    return axis


def searches(study: Study, factor: float = 2.0, most: int = 12) -> list[Search]:
    """A search for each cell of the axes but that of the rate.

    The grid is that of the study's axis of rates, begun in its middle. Without one it is the cell's own rate times
    powers of `factor`, rounded to six digits, `most` to either side.
    """
    axis = rate_axis(study)
    levels = sorted(study.axes.get(axis, ()), key=lambda level: float(level.changes[RATE]))
    cells: dict[tuple[Any, ...], list[PlannedRun]] = {}
    for run in make_plan(study).runs:
        cells.setdefault(tuple(label for name, label in run.cell.items() if name != axis), []).append(run)
    found = []
    for runs in cells.values():
        cell = {name: label for name, label in runs[0].cell.items() if name != axis}
        if levels:  # a rule may skip some
            labels = {run.cell[axis] for run in runs}
            grid = tuple(level for level in levels if level.label in labels)
            found.append(Search(cell, grid, (len(grid) - 1) // 2))
        else:
            rate = runs[0].config.optimizer.lr
            rates = [float(f"{rate * factor**power:.6g}") for power in range(-most, most + 1)]
            found.append(Search(cell, tuple(Level(rate, {RATE: rate}) for rate in rates), most))
    places = {name: {one.label: i for i, one in enumerate(each)} for name, each in study.axes.items()}
    return sorted(found, key=lambda one: [places[name][label] for name, label in one.cell.items()])


def trying(study: Study, found: Iterable[Search]) -> Study:
    """The study of the rates that were tried, and of those that come next: its runs are all of them."""
    axis, asked = rate_axis(study), list[tuple[Search, set[Any]]]()
    levels: dict[Any, Level] = {}
    for search in found:
        places = {*search.trains, *(() if search.next is None else (search.next,))}
        own = [search.grid[place] for place in places]
        levels |= {level.label: level for level in own}
        asked.append((search, {level.label for level in own}))
    axes = {**study.axes, axis: tuple(sorted(levels.values(), key=lambda level: float(level.changes[RATE])))}
    skips = [
        Skip({**{name: [label] for name, label in search.cell.items()}, axis: others}, "not asked for by the search")
        for search, labels in asked
        if (others := [label for label in levels if label not in labels])
    ]
    return dataclasses.replace(
        study,
        name=study.name + NAME,
        axes=axes,
        skips=(*study.skips, *skips),
        compare=dataclasses.replace(study.compare, tuned=None, metric=METRIC),
        looks=None,
        rates=None,
    )


def judge(search: Search, runs: Iterable[PlannedRun], store: Store, axis: str, at_least: float) -> None:
    """Notes which rates of a cell train: those at which every seed reaches `at_least` and none diverged."""
    places = {level.label: place for place, level in enumerate(search.grid)}
    found: dict[int, list[bool]] = {}
    for run in runs:
        if all(run.cell[name] == label for name, label in search.cell.items()):
            result = store.folder(run.id).result()
            accuracy = None if result is None else result["metrics"].get(METRIC)
            found.setdefault(places[run.cell[axis]], []).append(accuracy is not None and accuracy >= at_least)
    search.trains |= {place: all(reached) for place, reached in found.items()}
