"""Contrasts of a study, each as per-seed differences in one tidy shape (`seed_differences`).

All of them are differences between two levels of a block of a value that each level has in each seed: the metric
itself, its change along an axis, or its slope. One error term and one interval then serve them all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from normbench.stats.cell import Columns, Missing, column_names, counted_runs, levels_of, require_columns
from normbench.stats.differences import seed_differences
from normbench.stats.slope import seed_slopes


@dataclass(frozen=True)
class Along:
    """Values of an axis against one of them.

    Attributes:
        axis: Column, e.g. "layout".
        start: Value that the others are compared with, e.g. "1x32".
        stops: Values to compare, e.g. ["16x2"]; None: all but `start`, sorted.
    """

    axis: str
    start: Any
    stops: Sequence[Any] | None = None


def level_differences(
    runs: pd.DataFrame,
    metric: str,
    factor: str,
    baseline: Any,
    *,
    across: Columns = (),
    treatments: Sequence[Any] | None = None,
    contrast: str = "levels",
    missing: Missing = "diverged",
) -> pd.DataFrame:
    """Levels of `factor` against `baseline` in each cell of `across`: what does each norm do?

    Runs are paired by the values of `seed` and of the columns `across`, never by the position of their rows.

    Args:
        runs: One row a run: `across`, `factor`, `seed`, `metric`, and `diverged_at_step` where runs can diverge.
        metric: Column to compare.
        factor: Column whose levels are compared, e.g. "norm".
        baseline: Level of `factor` that the others are compared with.
        across: Every other axis of the study, e.g. ["dataset", "batch_size"].
        treatments: Levels to compare; None: all but the baseline, sorted.
        contrast: Name of the declared contrast; part of each `id`.
        missing: What a value is that is not finite; see `counted_runs`.

    Returns:
        See `seed_differences`; in the metric's unit.

    Raises:
        ValueError: `baseline` or a treatment is no level of `factor`; or see `counted_runs`, `seed_differences`.
    """
    sides = _sides(runs, factor, baseline, treatments)
    values = counted_runs(runs, [*column_names(across), factor], metric, missing=missing)
    return seed_differences(values, factor, sides, column_names(across), contrast=contrast)


def within_differences(
    runs: pd.DataFrame,
    metric: str,
    factor: str,
    level: Any,
    along: Along,
    *,
    across: Columns = (),
    contrast: str = "within",
) -> pd.DataFrame:
    """Within one `level` of `factor`: values of an axis against its start, in each cell of `across`.

    "What does dividing the batch do to batch norm": `level` "batch", `along` Along("layout", "1x32", ["16x2"]).

    Returns:
        See `seed_differences`: `treatment` is a value of the axis, `baseline` its start, `along` the axis, and
        `factor` stands among the columns of the cell.

    Raises:
        ValueError: `level`, the start or a stop is no value of its column; or see `level_differences`.
    """
    _require_level(runs, factor, level)
    inside = runs[runs[factor] == level]
    sides = _sides(inside, along.axis, along.start, along.stops)
    cell = [factor, *column_names(across)]
    values = counted_runs(inside, [*cell, along.axis], metric)
    return seed_differences(values, along.axis, sides, cell, contrast=contrast, along=along.axis)


def change_differences(
    runs: pd.DataFrame,
    metric: str,
    factor: str,
    baseline: Any,
    along: Along,
    *,
    across: Columns = (),
    treatments: Sequence[Any] | None = None,
    contrast: str = "changes",
) -> pd.DataFrame:
    """Differences of differences: each level's change from the start of an axis, less that of `baseline`.

    "Does batch norm lose more than group norm as the batch shrinks" is one such contrast, not a table of cells.
    A level's value in a seed is metric(stop) - metric(start); the seed diverged if either run did.

    Returns:
        See `seed_differences`: `treatment` and `baseline` are levels of `factor`; `along` says from where to where.

    Raises:
        ValueError: `baseline`, the start, a treatment or a stop is no value of its column; or see
            `level_differences`.
    """
    sides, cell, axis = _sides(runs, factor, baseline, treatments), column_names(across), along.axis
    keys = [*cell, factor, "seed"]
    counted = counted_runs(runs, [*cell, factor, axis], metric)
    at_start = counted[counted[axis] == along.start].drop(columns=axis)
    frames = []
    for stop, _ in _sides(runs, axis, along.start, along.stops):
        both = counted[counted[axis] == stop].merge(at_start, on=keys, how="outer", suffixes=("", "_start"))
        diverged = both["diverged"].eq(True) | both["diverged_start"].eq(True)
        values = both[keys].assign(value=both["value"] - both["value_start"], diverged=diverged)
        where = change_text(axis, along.start, stop)
        frames.append(seed_differences(values, factor, sides, cell, contrast=contrast, along=where))
    return pd.concat(frames, ignore_index=True)


def change_text(axis: str, start: Any, stop: Any) -> str:
    """What `along` says of a change: `layout from 1x32 to 16x2`."""
    return f"{axis} from {start} to {stop}"


def slope_differences(
    runs: pd.DataFrame,
    metric: str,
    factor: str,
    baseline: Any,
    axis: str,
    *,
    across: Columns = (),
    treatments: Sequence[Any] | None = None,
    contrast: str = "slopes",
) -> pd.DataFrame:
    """Differences of slopes: each level's slope against log2(`axis`), less that of `baseline`.

    Returns:
        See `seed_differences`; in the metric's unit per doubling of `axis`.

    Raises:
        ValueError: see `level_differences` and `seed_slopes`.
    """
    sides, cell = _sides(runs, factor, baseline, treatments), column_names(across)
    slopes = seed_slopes(runs, metric, axis=axis, by=[*cell, factor])
    values = slopes.assign(value=slopes["slope"], diverged=slopes["diverged"] > 0)
    return seed_differences(values, factor, sides, cell, contrast=contrast, along=f"log2 {axis}")


def _sides(runs: pd.DataFrame, factor: str, baseline: Any, treatments: Sequence[Any] | None) -> list[tuple[Any, Any]]:
    _require_level(runs, factor, baseline)
    if treatments is None:
        return [(level, baseline) for level in levels_of(runs, factor) if level != baseline]
    for level in treatments:
        _require_level(runs, factor, level)
    return [(level, baseline) for level in treatments if level != baseline]


def _require_level(runs: pd.DataFrame, factor: str, level: Any) -> None:
    require_columns(runs, [factor])
    if level not in (levels := levels_of(runs, factor)):
        raise ValueError(f"{level!r} is no value of {factor!r}: choose one of {levels}")
