"""The learning rates that a pilot study chooses, one for each cell of its other axes, on validation images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from normbench.errors import UsageError
from normbench.report.evidence import SELECT, Evidence
from normbench.stats import chosen_values
from normbench.study.rates import FACTS, RATE


def pilot_choice(evidence: Evidence) -> dict[str, Any]:
    """What the file of rates says of a finished pilot; see `chosen_values` for how it chooses.

    Raises:
        UsageError: the pilot is not one, is unfinished, or a cell's best rate lies at the edge of its grid.
    """
    study, plan = evidence.study, evidence.plan
    tuned = study.compare.tuned or RATE
    levels = study.axes.get(tuned, ())
    if not levels or any(set(level.changes) != {RATE} for level in levels):
        raise UsageError(f"{study.path}: a pilot tries rates: give an axis {RATE} with a list of them")
    axes = [axis for axis in study.axes if axis != tuned]
    if taken := [axis for axis in axes if axis in FACTS]:
        raise UsageError(f"{study.path}: axis {taken[0]} has the name of a fact of the file: rename it")
    done = set(evidence.runs["run_id"])
    left = sum(run.id not in done for run in plan.runs)
    if left:
        raise UsageError(f"{study.path}: {left} of {len(plan.runs)} runs of the pilot have no result: run it first")
    rates = {level.label: float(level.changes[RATE]) for level in levels}
    column, by = evidence.columns[tuned], [evidence.columns[axis] for axis in axes]
    runs, planned = (
        frame.assign(**{column: [rates[label] for label in frame[column]]})
        for frame in (evidence.runs, evidence.planned)
    )
    choice = chosen_values(runs, column, by, SELECT, planned=planned)
    rows = []
    for row in choice.to_dict("records"):
        cell = {axis: _plain(row[evidence.columns[axis]]) for axis in axes}
        named = ", ".join(f"{axis}={label}" for axis, label in cell.items()) or "the study"
        if pd.isna(row["select_mean"]):
            raise UsageError(
                f"{study.path}: every run of {named} diverged: extend the grid of {tuned} to smaller rates"
            )
        if row["at_edge"]:
            side = "above" if row[column] == max(rates.values()) else "below"
            raise UsageError(
                f"{study.path}: the best {tuned} of {named} is {row[column]:g}, the edge of its grid: extend the grid "
                f"{side} it, and run the pilot again"
            )
        rows.append(
            {**cell, RATE: _plain(row[column]), "val_accuracy": round(float(row["select_mean"]), 6)}
            | {"candidates": sorted(rates.values())}
        )
    return {
        "pilot": study.name,
        "commit": ", ".join(sorted(map(str, evidence.runs["commit"].dropna().unique()))),
        "code_digest": ", ".join(sorted(map(str, evidence.runs["code_digest"].dropna().unique()))),
        "seeds": list(study.seeds),
        "rates": rows,
    }


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
