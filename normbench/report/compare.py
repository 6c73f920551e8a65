"""Studies side by side, or two versions of one: paired by seed and cell, and refused where they do not compare."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from normbench.errors import UsageError
from normbench.report import FACTS
from normbench.report.tables import Cell, Grid, read_csv
from normbench.report.tables.comparison import cell_text
from normbench.report.words import interval_text, verdict_words
from normbench.stats import estimates, family_seen, level_differences, summarize
from normbench.study.metrics import COST, Metric, get_metric

# What must agree in a cell for a difference to mean anything.
HELD_EQUAL = ("dataset", "model", "samples", "steps", "lr")


@dataclass(frozen=True)
class Side:
    """One of the compared: its label, results table, axes, metric, margin and shared configuration."""

    label: str
    runs: pd.DataFrame
    axes: list[str]
    metric: str
    margin: float | None
    configuration: dict[str, Any]


def load_side(name: str, reports: Path) -> Side:
    """The report of a study by name, or a report folder at a path."""
    folder = Path(name) if Path(name, FACTS).is_file() else reports / name
    try:
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        runs = read_csv(folder / "results.csv")
        return Side(str(name), runs, facts["axes"], facts["metric"], facts["margin"], facts["configuration"])
    except (OSError, ValueError, KeyError, TypeError):
        raise UsageError(f"no report of '{name}' in {folder}: `normbench report {name}` writes one") from None


def check_comparable(sides: Sequence[Side], allowed: Sequence[str]) -> list[str]:
    """The axes that the sides share. Raises UsageError naming the first field in which they do not compare."""
    first = sides[0]
    for other in sides[1:]:
        pair = f"{first.label} and {other.label} are not comparable"
        if first.axes != other.axes:
            raise UsageError(f"{pair}: their axes are {', '.join(first.axes)} and {', '.join(other.axes)}")
        for key in sorted(first.configuration.keys() | other.configuration.keys()):
            one, two = (side.configuration.get(key) for side in (first, other))
            if one != two and key not in allowed:
                raise UsageError(f"{pair}: {key} is {one!r} and {two!r}; --allow {key} compares all the same")
        keys = [*first.axes, "seed"]
        left, right = (side.runs.set_index(keys) for side in (first, other))
        common = left.index.intersection(right.index)
        if common.empty:
            raise UsageError(f"{pair}: they have no cell and seed in common ({', '.join(keys)})")
        left, right = left.loc[common], right.loc[common]
        whole = (left["diverged_at_step"].isna() & right["diverged_at_step"].isna()).to_numpy()
        for field in (name for name in HELD_EQUAL if name not in keys and name not in allowed):
            differs = (left[field].to_numpy() != right[field].to_numpy()) & whole
            if differs.any():
                place = int(differs.argmax())
                one, two = left[field].iloc[place], right[field].iloc[place]
                raise UsageError(
                    f"{pair}: {field} is {one!r} and {two!r} in the same cell; --allow {field} compares all the same"
                )
    return first.axes


def _one_data_set_a_cell(sides: Sequence[Side]) -> list[Side]:
    """The sides with the data set as an axis, where one of them has a cell on two: they are never averaged."""
    mixed = any(
        side.runs["dataset"].nunique() > 1 and side.runs.duplicated([*side.axes, "seed"]).any() for side in sides
    )
    if not mixed or any("dataset" in side.axes for side in sides):
        return list(sides)
    return [replace(side, axes=["dataset", *side.axes]) for side in sides]


def _one_kind_an_axis(sides: Sequence[Side]) -> list[Side]:
    """The sides with an axis as text on all where it is on one: a file with 8 among names has it as text, "8"."""
    frames = [side.runs for side in sides]
    for axis in (name for name in sides[0].axes if all(name in runs for runs in frames)):
        numeric = [pd.api.types.is_numeric_dtype(runs[axis]) for runs in frames]
        if not all(numeric):
            frames = [
                runs.assign(**{axis: runs[axis].map(_number_text)}) if is_number else runs
                for runs, is_number in zip(frames, numeric, strict=True)
            ]
    return [replace(side, runs=runs) for side, runs in zip(sides, frames, strict=True)]


def _number_text(number: float) -> str:
    return str(number).removesuffix(".0")  # 1, of an axis that has 0.5 too


def side_by_side(sides: Sequence[Side], allowed: Sequence[str] = ()) -> Grid:
    """Every common cell: the mean on each side, and the paired difference of each from the first."""
    if len({side.label for side in sides}) != len(sides):
        raise UsageError("the same report is given twice: name different ones")
    sides = _one_kind_an_axis(_one_data_set_a_cell(sides))
    axes = check_comparable(sides, allowed)
    metric, first = get_metric(sides[0].metric), sides[0]
    side_column = _free("compared report", axes)
    runs = pd.concat([side.runs.assign(**{side_column: side.label}) for side in sides], ignore_index=True)
    cells = summarize(runs, [*axes, side_column], metric.name)
    table, family = _estimates(runs, metric, side_column, sides, axes)
    found = {(tuple(row[axis] for axis in axes), row["treatment"]): row for row in table.to_dict("records")}
    shown: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in cells.to_dict("records"):
        shown.setdefault(tuple(row[axis] for axis in axes), {})[row[side_column]] = row
    rows = []
    for key, by_side in shown.items():
        if len(by_side) < 2:
            continue
        texts = [cell_text(by_side[s.label], metric) if s.label in by_side else "not run" for s in sides]
        margin = f"{first.margin * metric.scale:g} {metric.difference_unit}" if first.margin else ""
        texts += [_difference(found.get((key, side.label)), metric, margin) for side in sides[1:]]
        name = ", ".join(f"{_title(axis)} {value}" for axis, value in zip(axes, key, strict=True))
        rows.append((name, [Cell(text) for text in texts]))
    columns = [*(side.label for side in sides), *(f"{side.label} − {first.label}" for side in sides[1:])]
    note = f"{metric.title}: mean ± half the 95 % interval. "
    if metric.name in COST:
        note += "Not compared: runs share a machine."
    else:
        note += (
            f"Differences are paired by seed and cell (paired t); their 95 % intervals hold for all {family} "
            "comparisons shown at once, and verdicts are read off them."
        )
    return Grid(" and ".join(side.label for side in sides), columns, rows, note)


def _free(name: str, taken: Sequence[str]) -> str:
    while name in taken:
        name = f"{name}'"
    return name


def _title(column: str) -> str:
    return column.removeprefix("axis ")


def _estimates(
    runs: pd.DataFrame, metric: Metric, side: str, sides: Sequence[Side], axes: Sequence[str]
) -> tuple[pd.DataFrame, int]:
    """Estimates of every side against the first in each cell, and the size of their family."""
    differences = level_differences(runs, metric.name, side, sides[0].label, across=list(axes))
    family = max(1, family_seen(differences))
    criterion = metric.criterion(sides[0].margin)
    table = estimates(differences, criterion, family=family)
    return table[(table["runs_treatment"] > 0) & (table["runs_baseline"] > 0)], family


def _difference(row: dict[Any, Any] | None, metric: Metric, margin: str) -> str:
    if row is None:
        return "—"
    size = metric.shown_difference(row["diff"]) if pd.notna(row["diff"]) else "no pair"
    if metric.name in COST:
        return size
    interval = f" ({interval_text(row, metric, 'levels')})" if pd.notna(row["low"]) else ""
    return f"{size}{interval}: {verdict_words(row, margin)}"
