"""Quantities from the runs of a study: rows of its contrasts, and means of its cells."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pandas as pd

from normbench.errors import NormbenchError
from normbench.findings.finding import Finding, Outcome, Quantity, StudyExperiment
from normbench.findings.studies import study_path

if TYPE_CHECKING:
    from normbench.report import Evidence
    from normbench.store import Store


def study_outcome(finding: Finding, store: Store) -> Outcome:
    """The quantities of a finding whose study is trained; raises NormbenchError while runs are missing."""
    from normbench.report import gather

    experiment = finding.experiment
    assert isinstance(experiment, StudyExperiment)
    evidence = gather(study_path(experiment.study), store)
    if missing := sum(evidence.states.values()):
        raise NormbenchError(f"{finding.id}: {missing} runs of its study have no result: {finding.command}")
    return Outcome(experiment.measure(evidence))


def contrast(evidence: Evidence, name: str, treatment: Any, sign: int = 1, **cell: Any) -> Quantity:
    """A row of a declared contrast, with its simultaneous interval.

    Where a run of either side diverged there is no interval, so that survivors decide nothing.

    Args:
        evidence: Of the study.
        name: The contrast.
        treatment: What is compared with its baseline (for "within", the value of the axis).
        sign: -1 turns a difference in accuracy into one in error.
        cell: Labels of other axes, by the column's last part: batch_size=2. One row has to remain.
    """
    (table,) = [t for c, t in zip(evidence.contrasts, evidence.estimates, strict=True) if c.name == name]
    rows = table[table["treatment"] == treatment]
    for column, label in cell.items():
        rows = rows[rows[column] == label]
    if len(rows) != 1:
        raise NormbenchError(f"{evidence.study.name}: {len(rows)} rows of {name} are {treatment} {cell}: name one")
    row = rows.iloc[0]
    low, high = sorted((sign * row["low"], sign * row["high"]))
    if row["diverged_treatment"] or row["diverged_baseline"]:
        low = high = math.nan
    return Quantity(sign * float(row["diff"]), float(low), float(high), int(row["pairs"]))


def cells(evidence: Evidence, **cell: Any) -> pd.DataFrame:
    """The runs of a cell, sorted by seed."""
    runs = evidence.runs
    for column, label in cell.items():
        runs = runs[runs[column] == label]
    if runs.empty:
        raise NormbenchError(f"{evidence.study.name}: no run is {cell}")
    return runs.sort_values("seed")


def mean(evidence: Evidence, metric: str, **cell: Any) -> Quantity:
    """Mean of a metric over the seeds of a cell, with its own 95 % interval; a diverged run leaves no interval."""
    values = cells(evidence, **cell)[metric].to_numpy(dtype=float)
    if not all(map(math.isfinite, values)):
        return Quantity(math.nan, math.nan, math.nan, len(values))
    return Quantity.over_seeds(list(values))


def worst(evidence: Evidence, metric: str, **cell: Any) -> float:
    """The least value of a metric over the seeds of a cell; a diverged run counts as 0."""
    return float(cells(evidence, **cell)[metric].astype(float).fillna(0.0).min())
