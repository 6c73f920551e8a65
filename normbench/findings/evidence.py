"""Quantities from the runs of a study: rows of its contrasts, and means of its cells."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from normbench.errors import NormbenchError
from normbench.findings.finding import Finding, Outcome, Quantity, StudyExperiment
from normbench.findings.studies import study_path

if TYPE_CHECKING:
    from normbench.report import Evidence
    from normbench.store import Store

Cell = Mapping[str, Any]  # labels of axes, as the study names them


def study_outcome(finding: Finding, store: Store) -> Outcome:
    """The quantities of a finding whose study is trained; raises NormbenchError while runs are missing."""
    from normbench.report import gather

    experiment = finding.experiment
    assert isinstance(experiment, StudyExperiment)
    evidence = gather(study_path(experiment.study), store)
    if missing := sum(evidence.states.values()):
        raise NormbenchError(f"{finding.id}: {missing} runs of its study have no result: {finding.command}")
    detail = experiment.detail(evidence) if experiment.detail else compared_runs(evidence)
    return Outcome(experiment.measure(evidence), detail)


def compared_runs(evidence: Evidence) -> pd.DataFrame | None:
    """What a study's curve is drawn from: every compared run with its labels, its seed and the metric.

    Evaluation with recomputed statistics stands beside where there is one; a diverged run has no value.

    Returns:
        A row a run, its axes as the study names them; None where no axis but the compared one varies.
    """
    from normbench.stats.cell import counted_runs
    from normbench.study.metrics import ENDING, METRICS

    if not evidence.study.compare.across:
        return None
    runs = evidence.chosen[evidence.chosen["run_id"].isin(evidence.plan.ids)]
    runs = evidence.in_order(runs.sort_values("seed"))
    names = [evidence.metric.name, evidence.metric.name + ENDING]
    names = [name for name in names if name in METRICS and name in runs and runs[name].notna().any()]
    axes = runs[list(evidence.columns.values())].astype(str).set_axis(list(evidence.columns), axis=1)
    counted = {name: counted_runs(runs, evidence.keys, name)["value"] for name in names}
    return axes.assign(seed=runs["seed"], **counted)


def contrast(evidence: Evidence, name: str, treatment: Any, cell: Cell | None = None, sign: int = 1) -> Quantity:
    """A row of a declared contrast, with its simultaneous interval.

    Where a run of either side diverged there is no interval, so that survivors decide nothing.

    Args:
        evidence: Of the study.
        name: The contrast.
        treatment: What is compared with its baseline (for "within", the value of the axis).
        cell: Labels of other axes. One row has to remain.
        sign: -1 turns a difference round, so that one in accuracy becomes one in error.
    """
    (table,) = [t for c, t in zip(evidence.contrasts, evidence.estimates, strict=True) if c.name == name]
    rows = _kept(evidence, table[table["treatment"] == treatment], cell or {})
    if len(rows) != 1:
        raise NormbenchError(f"{evidence.study.name}: {len(rows)} rows of {name} are {treatment} {cell}: name one")
    row = rows.iloc[0]
    low, high = sorted((sign * row["low"], sign * row["high"]))
    if row["diverged_treatment"] or row["diverged_baseline"]:
        low = high = math.nan
    return Quantity(sign * float(row["diff"]), float(low), float(high), int(row["pairs"]))


def runs_of(evidence: Evidence, cell: Cell) -> pd.DataFrame:
    """The runs of a cell (at its chosen rate, in a study with one), sorted by seed."""
    runs = _kept(evidence, evidence.chosen, cell)
    if runs.empty:
        raise NormbenchError(f"{evidence.study.name}: no run is {dict(cell)}")
    return runs.sort_values("seed")


def _kept(evidence: Evidence, rows: pd.DataFrame, cell: Cell) -> pd.DataFrame:
    for axis, label in cell.items():
        rows = rows[rows[evidence.columns[axis]] == label]
    return rows


def mean(evidence: Evidence, cell: Cell, metric: str = "test_accuracy") -> Quantity:
    """Mean of a metric over the seeds of a cell, with its own 95 % interval; a diverged run leaves no interval."""
    values = runs_of(evidence, cell)[metric].to_numpy(dtype=float)
    if not all(map(math.isfinite, values)):
        return Quantity(math.nan, math.nan, math.nan, len(values))
    return Quantity.over_seeds(list(values))


def values(evidence: Evidence, cell: Cell, metric: str = "test_accuracy", diverged: float = 0.0) -> list[float]:
    """A metric of a cell, seed by seed; what a diverged run counts as is given."""
    return [float(value) for value in runs_of(evidence, cell)[metric].astype(float).fillna(diverged)]


def largest_rates(evidence: Evidence) -> dict[str, Quantity]:
    """The largest rate of no norm and of batch norm, and how many times as large the latter is."""
    none, batch = (largest_rate(evidence, {"model.norm": norm}) for norm in ("none", "batch"))
    return {
        "largest rate, batch over none": Quantity.exact(batch / none),
        "largest rate, none": Quantity.exact(none),
        "largest rate, batch": Quantity.exact(batch),
    }


def largest_rate(evidence: Evidence, cell: Cell, at_least: float = 0.9) -> float:
    """The largest learning rate of the grid at which every seed reaches a test accuracy; NaN: there is none."""
    rates = [level.label for level in evidence.study.axes["optimizer.lr"]]
    able = [rate for rate in rates if min(values(evidence, {**cell, "optimizer.lr": rate})) >= at_least]
    return max(able, default=math.nan)
