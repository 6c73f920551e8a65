"""Evaluation with running averages beside the one with precise statistics, where runs have both."""

from __future__ import annotations

import pandas as pd

from normbench.report.evidence import Evidence
from normbench.report.tables.grid import Cell, Grid
from normbench.stats import summarize
from normbench.study.metrics import METRICS

RUNNING, PRECISE = METRICS["test_accuracy"], METRICS["test_accuracy_precise"]


def runs_with_both(evidence: Evidence) -> pd.DataFrame:
    """The compared runs that were evaluated with running averages and with precise statistics."""
    runs = evidence.chosen
    if PRECISE.name not in runs:
        return runs.iloc[:0]
    return runs[runs[PRECISE.name].notna() & runs[RUNNING.name].notna()]


def precise_grid(evidence: Evidence) -> Grid | None:
    """Both evaluations of every cell, and their difference within the run; None where no run has both."""
    runs = runs_with_both(evidence)
    if runs.empty:
        return None
    runs = runs.assign(gain=runs[PRECISE.name] - runs[RUNNING.name])
    table = summarize(runs, evidence.keys, "gain", missing="left out")
    means = runs.groupby(evidence.keys, observed=True)[[RUNNING.name, PRECISE.name]].mean()
    same = runs.groupby(evidence.keys, observed=True)["gain"].apply(lambda gain: bool((gain == 0).all()))
    rows = []
    for row in evidence.in_order(table).to_dict("records"):
        place = tuple(row[key] for key in evidence.keys)
        key = place if len(place) > 1 else place[0]
        running, precise = (float(means.loc[key, metric.name]) for metric in (RUNNING, PRECISE))
        gain = RUNNING.shown_number(row["mean"])
        if pd.notna(row["ci_low"]):
            gain += f" ({RUNNING.shown_number(row['ci_low'])} to {RUNNING.shown_number(row['ci_high'])})"
        cells = [
            Cell(str(row["n"]), value=float(row["n"])),
            Cell(RUNNING.shown(running), value=running),
            Cell(PRECISE.shown(precise), value=precise),
            Cell("same", value=0.0) if same.loc[key] else Cell(gain, value=float(row["mean"])),
        ]
        rows.append((evidence.row_name(row), cells))
    columns = ["runs", "running averages", "precise statistics", f"difference ({RUNNING.difference_unit})"]
    note = (
        f"{RUNNING.title[:1].upper()}{RUNNING.title[1:]} of the same weights, once with the running averages of "
        "training and once with statistics recomputed over training images (Wu & Johnson 2021, section 3.2). The "
        "difference is what noise and lag of the averages cost; what remains below another norm is harm to the "
        "training itself. Mean with the 95 % interval of each cell alone; norms without running averages are the same "
        "twice; diverged runs are left out."
    )
    return Grid("Running averages and precise statistics", columns, rows, note)
