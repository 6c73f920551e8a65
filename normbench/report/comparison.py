"""From runs to rows: the summary of every cell, and the estimate of every contrast with its verdict."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from normbench.report.contrasts import like_the_first
from normbench.report.looks import look_table
from normbench.stats import Missing, estimates, mark_best, summarize
from normbench.study.metrics import COST, Metric

if TYPE_CHECKING:
    from normbench.report.contrasts import Contrast
    from normbench.report.evidence import Evidence

NOT_COMPARED = "not measured: runs share a machine"
MARKED = 100  # cells up to which every metric has its best marked; beyond, the one that the study asks about
FACTS = ("images_per_statistic", "values_per_statistic", "parameters")


def contrast_table(evidence: Evidence, contrast: Contrast, metric: Metric) -> pd.DataFrame:
    """The estimates of one contrast in a metric, with the intervals of its whole family.

    With planned looks: each row at the look that decided it, else at the latest (`estimates_at_look`). Worked out
    once, also for the same runs asked about another metric.
    """
    key = ("estimates", contrast.name, contrast.across, metric.name)
    if key not in evidence.worked_out:
        evidence.worked_out[key] = _contrast_table(evidence, contrast, metric)
    return evidence.worked_out[key]


def _contrast_table(evidence: Evidence, contrast: Contrast, metric: Metric) -> pd.DataFrame:
    if evidence.looks:
        table = look_table(evidence, contrast, metric, evidence.looks.done)
    else:
        family = evidence.families[contrast.family]
        table = estimates(evidence.differences(contrast, metric), evidence.criterion(metric), family=family)
    return table.assign(error_ratio=_error_ratios(evidence, contrast, metric, table))


def _error_ratios(evidence: Evidence, contrast: Contrast, metric: Metric, table: pd.DataFrame) -> pd.Series:
    """Errors of the treatment as a multiple of the baseline's, over the seeds of each row; NaN where there are none.

    Half a point is much at 1 % error, and little at 30 %.
    """
    nothing = pd.Series(math.nan, index=table.index)
    if contrast.kind != "levels" or not metric.is_accuracy or table.empty:
        return nothing
    cell = list(contrast.across)
    errors = 1 - evidence.chosen.set_index([*cell, contrast.factor, "seed"])[metric.name]
    found = evidence.differences(contrast, metric).dropna(subset=["diff"])
    if evidence.study.looks is not None and "look" in table:
        seen = {
            row_id: set(evidence.study.seeds_at(look)) for row_id, look in zip(table["id"], table["look"], strict=True)
        }
        kept = [seed in seen[row_id] for row_id, seed in zip(found["id"], found["seed"], strict=True)]
        found = found[np.array(kept, dtype=bool)]  # an empty list would choose columns
    sides = [
        errors.reindex(pd.MultiIndex.from_frame(found[[*cell, side, "seed"]])).groupby(found["id"].to_numpy()).mean()
        for side in ("treatment", "baseline")
    ]
    ratio = (sides[0] / sides[1]).where(sides[1] > 0)
    return table["id"].map(ratio).astype(float)


def cell_table(evidence: Evidence, metric: Metric) -> pd.DataFrame:
    """A row a cell: its axes, `metric`, the summary, and for all but costs its mark and its paired difference."""
    keys, runs = evidence.keys, evidence.chosen
    cost = metric.name in COST
    if runs.empty:
        return pd.DataFrame(columns=[*keys, "metric", "n", "mean"])
    missing: Missing = "left out" if cost else "diverged"  # a run that is too short to time did not diverge
    cells = summarize(runs, keys, metric.name, missing=missing)
    cells.insert(len(keys), "metric", metric.name)
    told = [*(fact for fact in FACTS if fact in runs), *([evidence.tuned] if evidence.tuned else [])]
    facts = runs.groupby(keys, sort=False, observed=True)[told].first()
    cells = cells.merge(facts, left_on=keys, right_index=True, how="left")
    if cost:
        return evidence.in_order(cells.assign(verdict=NOT_COMPARED))
    if metric == evidence.metric or len(cells) <= MARKED:
        cells = cells.merge(_marks(evidence, metric), on=keys, how="left")
    found = [contrast_table(evidence, contrast, metric) for contrast in like_the_first(evidence.contrasts)]
    pairs = pd.concat([table for table in found if len(table)] or found[:1])
    pairs = pairs.drop(columns=["id", "along"]).rename(columns={"treatment": evidence.factor}).drop_duplicates(keys)
    if len(pairs):
        cells = cells.merge(_like(cells, pairs, keys), on=keys, how="left")
    return evidence.in_order(cells)


def _marks(evidence: Evidence, metric: Metric) -> pd.DataFrame:
    """The mark of the best in each cell of the other axes, over the family of all planned pairs of levels."""
    criterion, runs, plan = evidence.criterion(metric), evidence.chosen, evidence.study.looks
    if plan is not None and evidence.looks is not None:
        done = evidence.looks.done
        if not done:
            return runs[evidence.keys].drop_duplicates().assign(mark="")  # it would be a look that is not planned
        criterion = replace(criterion, alpha=criterion.alpha * plan.spend[done - 1])
        runs = runs[runs["seed"].isin(evidence.study.seeds_at(done))]
    marks = mark_best(
        runs,
        metric.name,
        evidence.factor,
        across=evidence.across,
        criterion=criterion,
        planned=evidence.planned[evidence.keys].drop_duplicates(),
    )
    return marks[[*evidence.keys, "mark"]]


def _like(cells: pd.DataFrame, pairs: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """`pairs` with the columns `keys` of the same type as in `cells`, as a merge needs them."""
    types: dict[Any, Any] = {key: cells[key].dtype for key in keys if pairs[key].dtype != cells[key].dtype}
    return pairs.astype(types)
