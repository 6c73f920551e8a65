"""Planned looks at a study: how many have been made, and which runs the next one needs.

Everything is worked out anew from the stored runs, so that an interrupted study goes on where it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from normbench.stats import Looks, estimates_at_look, open_contrasts
from normbench.study import PlannedRun
from normbench.study.metrics import Metric

if TYPE_CHECKING:
    from normbench.report.contrasts import Contrast
    from normbench.report.evidence import Evidence


@dataclass(frozen=True)
class LookProgress:
    """How far the looks are.

    Args:
        done: Looks made: those whose runs all have a result.
        looks: Looks planned.
        asked: The runs of the looks up to the one that is next (all that will ever be asked for, if none is).
        left: Those of them without a result.
        open: Rows of the contrasts that are open after the looks made; before the first, none is known.
    """

    done: int
    looks: int
    asked: list[PlannedRun]
    left: list[PlannedRun]
    open: int


def look_progress(evidence: Evidence) -> LookProgress | None:
    """How far the planned looks of a study are; None for one without."""
    plan = evidence.study.looks
    if plan is None:
        return None
    finished = set(evidence.runs["run_id"])
    cells = {_key(run.cell): run.cell for run in evidence.plan.placed}
    going, asked, undecided = set(cells), set[str](), 0
    for look, count in enumerate(plan.seeds):
        seeds = set(evidence.study.seeds[:count])
        asked |= {run.id for run in evidence.plan.placed if run.seed in seeds and _key(run.cell) in going}
        runs = [run for run in evidence.plan.runs if run.id in asked]
        left = [run for run in runs if run.id not in finished]
        if left:
            return LookProgress(look, len(plan.seeds), runs, left, undecided)
        needed, undecided = _open_cells(evidence, look + 1, cells)
        if plan.stop == "decided":
            going = needed
        if not going:
            break
    return LookProgress(look + 1, len(plan.seeds), runs, [], undecided)


def look_table(evidence: Evidence, contrast: Contrast, metric: Metric, done: int) -> pd.DataFrame:
    """The estimates of a contrast in a metric after so many looks: see `estimates_at_look`."""
    study = evidence.study
    assert study.looks is not None
    return estimates_at_look(
        evidence.differences(contrast, metric),
        evidence.criterion(metric),
        looks=Looks(study.looks.seeds, study.looks.spend),
        done=done,
        seeds=study.seeds,
        family=evidence.families[contrast.family],
        error=study.compare.error,
    )


def _open_cells(evidence: Evidence, done: int, cells: Mapping[Any, Mapping[str, Any]]) -> tuple[set[Any], int]:
    """Cells that the contrasts which are open after so many looks are made from, and how many rows are open."""
    found: set[Any] = set()
    count = 0
    columns = {key: {evidence.columns[axis]: label for axis, label in cell.items()} for key, cell in cells.items()}
    for contrast in evidence.contrasts:
        table = look_table(evidence, contrast, evidence.metric, done)
        undecided = table[table["id"].isin(open_contrasts(table))]
        count += len(undecided)
        for row in undecided.to_dict("records"):
            found |= {key for key, cell in columns.items() if contrast.uses(row, cell)}
    return found, count


def _key(cell: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(cell.values())
