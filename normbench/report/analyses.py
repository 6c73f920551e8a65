"""Tables over another axis than the cells: slopes, cost to a target, area under the loss curve."""

from __future__ import annotations

from functools import lru_cache

import pandas as pd

from normbench.report.evidence import Evidence
from normbench.report.tables import Cell, Grid
from normbench.stats import (
    Criterion,
    area_under_curve,
    best_over,
    compare_to_baseline,
    cost_to_target,
    slope_per_doubling,
    summarize,
    summarize_cost,
)
from normbench.study.metrics import get_metric


@lru_cache(maxsize=1)  # files and page show the same ones
def analysis_grids(evidence: Evidence) -> list[Grid]:
    """Every further table that the data can fill."""
    if evidence.chosen.empty:
        return []
    grids = [chosen_grid(evidence), slope_grid(evidence), target_grid(evidence), area_grid(evidence)]
    return [grid for grid in grids if grid is not None and grid.rows]


def chosen_grid(evidence: Evidence) -> Grid | None:
    """The value of the tuned axis that was chosen for every cell; None without such an axis."""
    if evidence.tuned is None or evidence.runs.empty:
        return None
    keys, select = [*evidence.across, evidence.factor], get_metric("val_accuracy")
    found = best_over(evidence.runs, evidence.tuned, keys, select=select.name, report="test_accuracy")
    rows = []
    for row in evidence.in_order(found).to_dict("records"):
        edge = "at the edge: a better value may lie outside" if row["at_edge"] and row["candidates"] > 1 else ""
        texts = [f"{row[evidence.tuned]}", f"{row['candidates']}", select.shown(row["select_mean"]), edge]
        rows.append((evidence.row_name(row), [Cell(text) for text in texts]))
    columns = [evidence.tuned, "tried", select.title, "note"]
    note = (
        "Chosen for each cell by the best mean over seeds on the validation images; all other tables are of the test "
        "images."
    )
    return Grid(f"Chosen {evidence.tuned}", columns, rows, note, words=("note",))


def slope_grid(evidence: Evidence) -> Grid | None:
    """Slope of the metric against log2 of the swept axis; None where that is not a quantity."""
    axis = evidence.across[-1] if evidence.across else None
    runs, metric = evidence.chosen, evidence.metric
    if axis is None or not pd.api.types.is_numeric_dtype(runs[axis]) or not (runs[axis] > 0).all():
        return None
    if runs[axis].nunique() < 3:
        return None
    by = [evidence.factor, *evidence.across[:-1]]
    slopes = slope_per_doubling(runs, metric.name, axis=axis, by=by)
    rows = []
    for row in evidence.in_order(slopes).to_dict("records"):
        interval = "—"
        if pd.notna(row["ci_low"]):
            interval = f"{row['ci_low'] * metric.scale:+.3f} to {row['ci_high'] * metric.scale:+.3f}"
        name = ", ".join(str(row[key]) for key in by)
        rows.append((name, [Cell(f"{row['mean'] * metric.scale:+.3f}"), Cell(interval), Cell(str(row["n_used"]))]))
    note = (
        f"Change of {metric.label} ({metric.difference_unit}) for each doubling of {axis}: one least-squares slope a "
        "seed, then their mean and its 95 % interval over seeds. A straight line is a summary, not a model."
    )
    return Grid(f"Slope against {axis}", ["a doubling", "95 % interval", "seeds"], rows, note)


def target_grid(evidence: Evidence) -> Grid | None:
    """Images seen until the validation accuracy first reaches the study's target."""
    target = evidence.study.compare.target
    if target is None or evidence.curves.empty:
        return None
    runs = evidence.chosen
    keys = [*evidence.across, evidence.factor]
    diverged = runs.loc[runs["diverged_at_step"].notna(), "run_id"]
    curves = evidence.curves.astype({"run_id": str})
    costs = cost_to_target(curves, "accuracy", target, split="validation", diverged=list(diverged))
    table = summarize_cost(costs.merge(runs[["run_id", *keys]], on="run_id"), keys)
    rows = []
    for row in evidence.in_order(table).to_dict("records"):
        median = f"{row['median']:,.0f}" if pd.notna(row["median"]) else "not reached"
        rows.append((evidence.row_name(row), [Cell(median), Cell(f"{row['reached']} of {row['n']}")]))
    note = (
        "Training images seen at the first evaluation that shows the target (so late by up to one interval between "
        "evaluations); median by Kaplan and Meier, runs that never reach it censored at the budget."
    )
    return Grid(f"Images to {target:.0%} validation accuracy", ["median", "runs that reached it"], rows, note)


def area_grid(evidence: Evidence) -> Grid | None:
    """Area under the training-loss curve, compared with the baseline."""
    curves = evidence.curves
    if curves.empty or not ((curves["split"] == "train") & (curves["metric"] == "loss")).any():
        return None
    areas = area_under_curve(curves.astype({"run_id": str}), "loss")
    keys = [*evidence.across, evidence.factor]
    runs = evidence.chosen[["run_id", *keys, "seed", "diverged_at_step"]].merge(areas[["run_id", "area"]], on="run_id")
    if evidence.baseline not in set(runs[evidence.factor]) or runs["area"].isna().all():
        return None
    cells = summarize(runs, keys, "area")
    lower = Criterion(higher_is_better=False)
    pairs = compare_to_baseline(
        runs, "area", evidence.factor, evidence.baseline, across=evidence.across, criterion=lower
    )
    table = cells.merge(
        pairs.rename(columns={"treatment": evidence.factor}), on=keys, how="left", suffixes=("", "_pair")
    )
    rows = []
    for row in evidence.in_order(table).to_dict("records"):
        half = f" ± {row['ci_high'] - row['mean']:.3f}" if pd.notna(row["ci_high"]) else ""
        told = row["verdict"] if isinstance(row["verdict"], str) else "baseline"
        rows.append((evidence.row_name(row), [Cell(f"{row['mean']:.3f}{half}"), Cell(told)]))
    note = (
        "Mean height of the training-loss curve over the images seen (nats; lower is faster). Verdicts: paired by "
        f"seed with {evidence.baseline}, Holm-corrected over the {len(pairs)} comparisons of this table."
    )
    against = f"against {evidence.baseline}"
    return Grid("Area under the training loss", ["area", against], rows, note, words=(against,))
