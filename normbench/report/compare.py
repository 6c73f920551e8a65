"""Studies side by side, or two versions of one: paired by seed and cell, and refused where they do not compare."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from normbench.errors import UsageError
from normbench.report import FACTS
from normbench.report.tables import Cell, Grid, cell_text
from normbench.stats import compare_to_baseline, summarize
from normbench.study.metrics import get_metric

# What must agree in a cell for a difference to mean anything.
HELD_EQUAL = ("dataset", "model", "samples", "steps", "lr")


@dataclass(frozen=True)
class Side:
    """One of the compared: its label, results table, axes, metric and shared configuration."""

    label: str
    runs: pd.DataFrame
    axes: list[str]
    metric: str
    margin: float
    configuration: dict[str, Any]


def load_side(name: str, reports: Path) -> Side:
    """The report of a study by name, or a report folder at a path."""
    folder = Path(name) if Path(name, FACTS).is_file() else reports / name
    try:
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        runs = pd.read_csv(folder / "results.csv", keep_default_na=False, na_values=[""])  # a label may be "None"
    except (OSError, ValueError):
        raise UsageError(f"no report of '{name}' in {folder}: `normbench report {name}` writes one") from None
    return Side(str(name), runs, facts["axes"], facts["metric"], facts["margin"], facts["configuration"])


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
        both = first.runs.merge(other.runs, on=keys, suffixes=("", "_other"))
        if both.empty:
            raise UsageError(f"{pair}: they have no cell and seed in common ({', '.join(keys)})")
        for field in (name for name in HELD_EQUAL if name not in keys and name not in allowed):
            differing = both[(both[field] != both[f"{field}_other"]) & both["diverged_at_step"].isna()]
            differing = differing[differing["diverged_at_step_other"].isna()]
            if len(differing):
                row = differing.iloc[0]
                raise UsageError(
                    f"{pair}: {field} is {row[field]!r} and {row[f'{field}_other']!r} in the same cell; "
                    f"--allow {field} compares all the same"
                )
    return first.axes


def side_by_side(sides: Sequence[Side], allowed: Sequence[str] = ()) -> Grid:
    """Every common cell: the mean on each side, and the paired difference of each from the first."""
    if len({side.label for side in sides}) != len(sides):
        raise UsageError("the same report is given twice: name different ones")
    axes = check_comparable(sides, allowed)
    metric = get_metric(sides[0].metric)
    runs = pd.concat([side.runs.assign(version=side.label) for side in sides], ignore_index=True)
    criterion = metric.criterion(sides[0].margin)
    cells = summarize(runs, [*axes, "version"], metric.name)
    pairs = compare_to_baseline(runs, metric.name, "version", sides[0].label, across=axes, criterion=criterion)
    pairs = pairs[pairs["pairs"] > 0].set_index([*axes, "treatment"])
    shown: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in cells.to_dict("records"):
        shown.setdefault(tuple(row[axis] for axis in axes), {})[row["version"]] = row
    rows = []
    for key, by_side in shown.items():
        if len(by_side) < 2:
            continue
        texts = [cell_text(by_side[s.label], metric) if s.label in by_side else "not run" for s in sides]
        for side in sides[1:]:
            if (*key, side.label) in pairs.index:
                row = pairs.loc[(*key, side.label)]
                texts.append(f"{metric.shown_difference(row['diff'])}: {row['verdict']}")
            else:
                texts.append("—")
        name = ", ".join(f"{axis} {value}" for axis, value in zip(axes, key, strict=True))
        rows.append((name, [Cell(text) for text in texts]))
    columns = [*(side.label for side in sides), *(f"{side.label} − {sides[0].label}" for side in sides[1:])]
    note = (
        f"{metric.title}: mean ± half the 95 % interval. Differences are paired by seed and cell (paired t); verdicts "
        f"are corrected by Holm over the {len(pairs)} comparisons shown."
    )
    return Grid(" and ".join(side.label for side in sides), columns, rows, note)
