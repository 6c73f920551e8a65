"""What a training curve says: the cost to reach a target.

A frame of curves is tidy, one row a logged value: `run_id`, `step`, `samples`, `seconds`, `split`, `metric`,
`value`.
"""

from collections.abc import Collection
from typing import Literal

import numpy as np
import pandas as pd

from normbench.stats.cell import Columns, cells, column_names, require_columns

Cost = Literal["step", "samples", "seconds"]


def cost_to_target(
    curves: pd.DataFrame,
    metric: str,
    target: float,
    *,
    cost: Cost = "samples",
    split: str = "val",
    higher_is_better: bool = True,
    budget: float | None = None,
    diverged: Collection[str] = (),
) -> pd.DataFrame:
    """What each run spent until `metric` first reached `target`, right-censored where it never did.

    The cost is that of the first evaluation that shows the target, not interpolated: it is late by at most
    one interval between evaluations.

    Args:
        curves: Frame of curves (see the module).
        metric: Metric to watch, in `split`.
        target: Value to reach or to pass, in the metric's unit.
        cost: Column that measures it: steps, samples seen, or seconds.
        split: Split in which the metric is watched.
        higher_is_better: Whether the target is passed upwards.
        budget: Cost up to which every run is watched; None: to the last evaluation of each.
        diverged: Ids of runs that diverged. One that did not reach the target before never will: its cost is
            infinite. Censored where it stopped, it would count as if it went on like the others.

    Returns:
        One row for each run of `curves`, sorted by `run_id`: `run_id`, `cost` (for a censored run, how far it
        was watched; 0 if it was never evaluated), `censored`.

    Raises:
        ValueError: a column is missing, or no row has this metric and split.
    """
    watched = _logged(curves, metric, split, cost)
    if budget is not None:
        watched = watched[watched[cost] <= budget]
    runs = pd.Index(sorted(curves["run_id"].unique()), name="run_id")
    reached = watched["value"] >= target if higher_is_better else watched["value"] <= target
    first = watched[reached].groupby("run_id")[cost].min().reindex(runs)
    last = watched.groupby("run_id")[cost].max().reindex(runs, fill_value=0).astype(float)
    last[runs.isin(list(diverged))] = np.inf
    return pd.DataFrame({"cost": first.fillna(last), "censored": first.isna()}).reset_index()


def kaplan_meier_median(cost: np.ndarray, censored: np.ndarray) -> float:
    """Smallest cost by which an estimated half of the runs has reached the target; NaN if there is none.

    A censored run counts among those still trying up to its own cost. An infinite one is always trying.

    Source: Kaplan & Meier 1958, Nonparametric estimation from incomplete observations, JASA 53.
    """
    from scipy import stats  # takes longer to import than all else of a report, and few studies have a target

    cost, censored = np.asarray(cost, dtype=float), np.asarray(censored, dtype=bool)
    if censored.all():
        return np.nan
    forever = 2 * cost[np.isfinite(cost)].max() + 1  # later than every run: the same estimate, and finite
    sample = stats.CensoredData.right_censored(np.where(np.isinf(cost), forever, cost), censored)
    left = stats.ecdf(sample).sf
    half = left.quantiles[left.probabilities <= 0.5 + 1e-12]  # a product of fractions that is one half on paper
    return float(half[0]) if len(half) else np.nan


def summarize_cost(costs: pd.DataFrame, by: Columns) -> pd.DataFrame:
    """Cost to the target of each cell, from `cost_to_target` merged with the axes of the runs.

    Returns:
        The columns `by`; `n` runs; `reached`, how many reached the target; `median`, by Kaplan and Meier, in
        the unit of the cost, NaN where too few reached it; `first`, the least cost of a run that did; and
        `note`: "not reached by k of n", or "" if all reached it.

    Raises:
        ValueError: a column is missing.
    """
    by = column_names(by)
    require_columns(costs, [*by, "cost", "censored"], "costs")
    rows = []
    for cell, part in cells(costs, by):
        cost, censored = part["cost"].to_numpy(dtype=float), part["censored"].to_numpy(dtype=bool)
        n, missed = len(part), int(censored.sum())
        rows.append(
            {
                **cell,
                "n": n,
                "reached": n - missed,
                "median": kaplan_meier_median(cost, censored),
                "first": cost[~censored].min() if n > missed else np.nan,
                "note": f"not reached by {missed} of {n}" if missed else "",
            }
        )
    return pd.DataFrame(rows, columns=[*by, "n", "reached", "median", "first", "note"])


def with_runs(points: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Points with the columns of their runs; those of a run that stands in two cells come twice.

    Args:
        points: Frame of curves, `run_id` a categorical.
        runs: A row a run, with its id as index.
    """
    if not runs.index.is_unique:
        return points.join(runs, on="run_id")
    of = points["run_id"].cat  # by place: to compare a million names takes longer than to read the points
    told = runs.reindex(of.categories).take(of.codes.to_numpy())
    return pd.concat([points, told.set_axis(points.index)], axis=1)


def _logged(curves: pd.DataFrame, metric: str, split: str, axis: str) -> pd.DataFrame:
    """The rows of one metric in one split, in the order of `axis`."""
    require_columns(curves, ["run_id", axis, "split", "metric", "value"], "curves")
    logged = curves[(curves["metric"] == metric) & (curves["split"] == split)]
    if logged.empty:
        known = sorted({f"{s}/{m}" for s, m in zip(curves["split"], curves["metric"], strict=True)})
        raise ValueError(f"curves has no {split}/{metric}: it has {known}")
    return logged.sort_values(axis, kind="stable")
