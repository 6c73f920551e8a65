"""Tables beside the comparison: the tuned value that was chosen, images to a target, what a cell costs."""

from __future__ import annotations

from typing import Any

import pandas as pd

from normbench.report.cost import NOT_MEASURED, measured_cells
from normbench.report.evidence import SELECT, VALIDATION, Evidence
from normbench.report.tables.grid import Cell, Grid
from normbench.stats import cost_to_target, summarize_cost
from normbench.study.file import asked_as
from normbench.study.metrics import get_metric


def chosen_grid(evidence: Evidence) -> Grid | None:
    """The value of the tuned axis that was chosen for every cell; None without such an axis."""
    if evidence.tuned is None or evidence.runs.empty:
        return None
    select, tuned = get_metric(SELECT), evidence.tuned
    rows = []
    for row in evidence.in_order(evidence.choice).to_dict("records"):
        notes = []
        if row["at_edge"] and row["candidates"] > 1:
            notes.append("at the edge: a better value may lie outside")
        if not row["complete"]:
            notes.append("some runs are missing: the choice may still change")
        mean = select.shown(row["select_mean"]) if pd.notna(row["select_mean"]) else "all diverged"
        cells = [
            _plain(row[tuned]),
            _plain(row["candidates"]),
            _plain(row["seeds"]),
            Cell(mean, value=None if pd.isna(row["select_mean"]) else row["select_mean"]),
            Cell("; ".join(notes)),
        ]
        rows.append((evidence.row_name(row), cells))
    columns = [evidence.title(tuned), "tried", "seeds shared", select.title, "note"]
    note = (
        "Chosen for each cell by the best mean on the validation images over the seeds that the candidates share; all "
        "other tables are of the test images."
    )
    return Grid(f"Chosen {evidence.title(tuned)}", columns, rows, note, words=("note",))


def _plain(value: Any) -> Cell:
    number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
    return Cell(str(value), value=number)


def target_grid(evidence: Evidence) -> Grid | None:
    """Images seen until the validation accuracy first reaches the study's target; None where none is asked for."""
    target, points = evidence.study.compare.target, evidence.curves
    if target is None or points.empty:
        return None
    split = next((name for name in VALIDATION if (points["split"] == name).any()), None)
    if split is None:
        return None
    runs = evidence.chosen
    diverged = runs.loc[runs["diverged_at_step"].notna(), "run_id"]
    points = points.astype({"run_id": str, "split": str, "metric": str})
    costs = cost_to_target(points, "accuracy", target, split=split, diverged=list(diverged))
    table = summarize_cost(costs.merge(runs[["run_id", *evidence.keys]], on="run_id"), evidence.keys)
    rows = []
    for row in evidence.in_order(table).to_dict("records"):
        reached = pd.notna(row["median"])
        median = Cell(f"{row['median']:,.0f}", value=float(row["median"])) if reached else Cell("not reached")
        rows.append((evidence.row_name(row), [median, Cell(f"{row['reached']} of {row['n']}", value=row["reached"])]))
    note = (
        "Training images seen at the first evaluation that shows the target (so late by up to one interval between "
        "evaluations); median by Kaplan and Meier, runs that never reach it censored at the budget."
    )
    return Grid(f"Images to {target:.0%} validation accuracy", ["median", "runs that reached it"], rows, note)


COST_FACTS = {
    "parameters": ("parameters", ",.0f"),
    "images_per_statistic": ("images per statistic", ".0f"),
    "values_per_statistic": ("values per statistic", ",.0f"),
    "seconds": ("training time (s)", ".1f"),
    "samples_per_second": ("throughput (images/s)", ",.0f"),
}


SIZES = ("images_per_statistic", "values_per_statistic")


def cost_grid(evidence: Evidence) -> Grid:
    """Parameters, statistics, time and throughput of every cell, and the speeds that `normbench cost` measured."""
    runs = evidence.chosen
    facts = [name for name in COST_FACTS if name in runs and runs[name].notna().any()]
    numbers = runs.astype(dict.fromkeys(facts, "float64"))
    medians = numbers.groupby(evidence.keys, observed=True)[facts].median().reset_index()
    measured = measured_cells(evidence)
    speeds = {} if measured is None else {_key(row, evidence): row for row in measured.to_dict("records")}
    rows = []
    for row in evidence.in_order(medians).to_dict("records"):
        cells = []
        for fact in facts:
            known = pd.notna(row[fact])
            text = format(row[fact], COST_FACTS[fact][1]) if known else "—"
            text = "none" if fact in SIZES and row[fact] == 0 else text  # nothing shares a statistic
            cells.append(Cell(text, value=float(row[fact]) if known else None))
        rows.append((evidence.row_name(row), [*cells, _speed(speeds.get(_key(row, evidence)))]))
    base = evidence.level_name(evidence.baseline)
    how = (
        f"Speed: training images/s as a multiple of {base}'s, measured by normbench cost with each cell alone on the "
        "machine, in turns with the baseline; each 95 % interval by itself."
        if speeds
        else f"Speed: not measured; normbench cost {asked_as(evidence.study)} measures it."
    )
    note = (
        "Medians over seeds of training alone: evaluation, checkpoints and the first steps are left out. Times and "
        f"throughput are not compared: runs share a machine and disturb each other. {how}"
    )
    return Grid("What it costs", [*(COST_FACTS[fact][0] for fact in facts), f"speed (× {base})"], rows, note)


def _key(row: dict[Any, Any], evidence: Evidence) -> tuple[str, ...]:
    """The cell of a row as text."""
    return tuple(str(row[key]) for key in evidence.keys)


def _speed(row: dict[Any, Any] | None) -> Cell:
    if row is None:
        return Cell(NOT_MEASURED)
    text = f"{row['ratio']:.2f}"
    if pd.notna(row["low"]) and row["low"] < row["high"]:
        text += f" ({row['low']:.2f} to {row['high']:.2f})"
    return Cell(text, value=float(row["ratio"]))
