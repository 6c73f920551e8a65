"""What every analysis starts from: the cells of a results table, and the value with which each run counts."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd

Columns = str | Sequence[str]
Missing = Literal["diverged", "left out"]

# Differences below this share of the values themselves are the rounding of float32, not a measurement.
_ROUNDING = 1e-6


def column_names(columns: Columns) -> list[str]:
    """One name or several, as a list (a lone string would otherwise be read letter by letter)."""
    return [columns] if isinstance(columns, str) else list(columns)


def require_columns(frame: pd.DataFrame, columns: Sequence[str], frame_name: str = "runs") -> None:
    """Raise `ValueError` unless `frame` has every one of `columns`."""
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise ValueError(f"{frame_name} has no column {missing[0]!r}: it has {sorted(map(str, frame.columns))}")


def require_free_names(axes: Sequence[str], taken: Sequence[str]) -> None:
    """Raise `ValueError` where an axis has the name of a column of the result."""
    for axis in axes:
        if axis in taken:
            raise ValueError(f"axis {axis!r} has the name of a column of the result: rename the axis")


def require_share(name: str, value: float) -> None:
    """Raise `ValueError` unless `value` lies strictly between 0 and 1."""
    if not 0 < value < 1:
        raise ValueError(f"{name}={value!r} is not strictly between 0 and 1: give it as a fraction, e.g. 0.05")


def cells(frame: pd.DataFrame, by: Sequence[str]) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    """The cells of `frame` as ({axis: value}, rows), in sorted order; without axes, one cell of all rows."""
    if not by:
        yield {}, frame
        return
    for key, part in frame.groupby(list(by), dropna=False, observed=True):
        yield dict(zip(by, key, strict=True)), part


def cell_places(frame: pd.DataFrame, by: Sequence[str]) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    """The cells of `frame` as ({axis: value}, places of its rows), as `cells` but without a frame for each.

    Thousands of cells take most of their time in being made into data frames.
    """
    if not by:
        yield {}, np.arange(len(frame))
        return
    if frame.empty:
        return
    codes = frame.groupby(list(by), dropna=False, observed=True).ngroup().to_numpy()
    order = np.argsort(codes, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(codes[order])) + 1)
    firsts = [frame[column].iloc[[group[0] for group in groups]].tolist() for column in by]
    for values, group in zip(zip(*firsts, strict=True), groups, strict=True):
        yield dict(zip(by, values, strict=True)), group


def cell_key(cell: Mapping[str, Any]) -> tuple[Any, ...]:
    """The values of a cell as a key; a missing one is None, which equals itself."""
    return tuple(None if isinstance(value, float) and math.isnan(value) else value for value in cell.values())


def levels_of(runs: pd.DataFrame, factor: str) -> list[Any]:
    """The values of the column `factor`, sorted (an ordered categorical keeps its order)."""
    require_columns(runs, [factor])
    if runs[factor].isna().any():
        raise ValueError(f"runs has a row without {factor!r}: the factor to compare needs a value in every row")
    return [cell[factor] for cell, _ in cells(runs, [factor])]


def counted_runs(runs: pd.DataFrame, axes: Columns, metric: str, *, missing: Missing = "diverged") -> pd.DataFrame:
    """The value of each run: columns `axes`, `seed`, `value`, `diverged`; the index of `runs`.

    A diverged run (`diverged_at_step` is set, or its value is not finite) has no value: NaN. Nothing is put in its
    place, since one invented value makes the variance explode, and with it every interval. With
    `missing="left out"` a value that is not finite, of a run not marked as diverged, is a measurement that was not
    taken (a throughput of a run too short to time).

    Raises:
        ValueError: an axis has the name of a column of the result, a column is missing, a seed is missing, the metric
            is not numeric, or two rows have the
            same axes and seed (an axis was forgotten, or a run was repeated: neither is an independent
            sample).
    """
    axes = column_names(axes)
    require_free_names(axes, ["seed", "value", "diverged"])
    require_columns(runs, [*axes, "seed", metric])
    if runs["seed"].isna().any():
        raise ValueError("runs has a row without a seed: runs are paired by seed, so give every run one")
    repeated = runs.duplicated([*axes, "seed"], keep=False)
    if repeated.any():
        first = runs.loc[repeated, [*axes, "seed"]].iloc[0]
        where = ", ".join(f"{name}={value!r}" for name, value in first.to_dict().items())
        raise ValueError(f"runs has several rows for {where}: name the axis that tells them apart, or drop the repeats")
    try:
        values = pd.to_numeric(runs[metric]).astype(float)
    except (ValueError, TypeError) as error:
        raise ValueError(f"column {metric!r} is not numeric ({error}): name a metric column") from None
    marked = (
        runs["diverged_at_step"].notna() if "diverged_at_step" in runs.columns else pd.Series(False, index=runs.index)
    )
    finite = np.isfinite(values)
    diverged = marked | ~finite if missing == "diverged" else marked
    return runs[[*axes, "seed"]].assign(value=values.where(finite & ~diverged), diverged=diverged)


def is_constant(values: np.ndarray, scale: float) -> bool:
    """Whether `values` differ by no more than the rounding of numbers of size `scale`."""
    return bool(np.ptp(values) <= _ROUNDING * scale)


def counted_noun(n: int, noun: str) -> str:
    """A number with its noun: "1 seed", "5 seeds"."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
