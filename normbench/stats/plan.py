"""What a contrast says about the next study: a range of seeds, since few seeds know the spread only roughly."""

from typing import Any

import numpy as np

from normbench.stats.criterion import Criterion
from normbench.stats.divergence import Divergence
from normbench.stats.error import Residual
from normbench.stats.power import (
    MOST_SEEDS,
    detectable_difference,
    sd_upper_limit,
    seeds_for_equivalence,
    seeds_needed,
)

PLAN_COLUMNS = [
    "sd_planned",
    "sd_upper",
    "seeds_low",
    "seeds_high",
    "seeds_equivalent_low",
    "seeds_equivalent_high",
    "detectable_low",
    "detectable_high",
    "plan_reason",
]


def planning_sd(differences: np.ndarray, block: Residual) -> tuple[float, float]:
    """The sd of a paired difference to plan with: pooled over its block, and an upper limit.

    Pooled: sqrt(2 MS) with (k - 1)(n - 1) degrees of freedom. The limit is its one-sided 95 % limit or, where that
    is larger, the sd of the contrast's own differences: levels differ in spread.

    Args:
        differences: Treatment minus baseline, finite; at least two.
        block: `residual` of its block.
    """
    own, degrees = float(differences.std(ddof=1)), len(differences) - 1
    if np.isnan(block.mean_square) or not block.mean_square > 0:
        return own, sd_upper_limit(own, degrees)
    pooled = float(np.sqrt(2 * block.mean_square))
    return pooled, max(sd_upper_limit(pooled, (block.levels - 1) * degrees), own)


def seed_plan(
    differences: np.ndarray, block: Residual, diverged: Divergence, criterion: Criterion, family: int
) -> dict[str, Any]:
    """Seeds needed for the criterion's margin, and the difference that the seeds at hand detect, each as a range.

    All for the paired t test at the level alpha / family and the criterion's power; from the pooled sd (`_low`)
    to its upper limit (`_high`; `planning_sd`).

    Returns:
        `sd_planned`, `sd_upper`; `seeds_low`, `seeds_high`: to find a true difference of the margin;
        `seeds_equivalent_low`, `seeds_equivalent_high`: to show a true difference of zero to be equivalent within
        it; `detectable_low`, `detectable_high`: smallest difference that as many pairs find; `plan_reason`: why
        something is missing: "diverged" (nothing is planned from survivors), "one seed", "not run", "no spread",
        "no margin", or "needs more than 1,000 seeds" (where only the upper end does, "may need ...").
    """
    plan: dict[str, Any] = dict.fromkeys(PLAN_COLUMNS)
    plan.update(dict.fromkeys(("sd_planned", "sd_upper", "detectable_low", "detectable_high"), np.nan))
    n = len(differences)
    if diverged.treatment or diverged.baseline:
        return plan | {"plan_reason": "diverged"}
    if n < 2:
        return plan | {"plan_reason": "one seed" if n else "not run"}
    sd, upper = planning_sd(differences, block)
    if not sd > 0 or not differences.any():
        return plan | {"plan_reason": "no spread"}
    power, alpha = criterion.power, criterion.alpha / family
    plan.update(sd_planned=sd, sd_upper=upper)
    for end, value in (("low", sd), ("high", upper)):
        plan[f"detectable_{end}"] = detectable_difference(n, value, power=power, alpha=alpha)
        if criterion.margin is not None:
            plan[f"seeds_{end}"] = seeds_needed(criterion.margin, value, power=power, alpha=alpha)
            plan[f"seeds_equivalent_{end}"] = seeds_for_equivalence(criterion.margin, value, power=power, alpha=alpha)
    return plan | {"plan_reason": _plan_reason(plan, criterion)}


def _plan_reason(plan: dict[str, Any], criterion: Criterion) -> str:
    if criterion.margin is None:
        return "no margin"
    if plan["seeds_low"] is None:
        return f"needs more than {MOST_SEEDS:,} seeds"
    return f"may need more than {MOST_SEEDS:,} seeds" if plan["seeds_high"] is None else ""
