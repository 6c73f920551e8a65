"""From per-seed differences to estimates: one simultaneous interval a contrast, and the verdict read off it."""

from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtr, stdtrit

from normbench.stats.cell import require_columns, require_free_names
from normbench.stats.criterion import Criterion
from normbench.stats.differences import DIFFERENCE_COLUMNS, family_seen
from normbench.stats.divergence import Divergence, divergence
from normbench.stats.error import Residual, difference_variance, residual
from normbench.stats.plan import PLAN_COLUMNS, seed_plan
from normbench.stats.verdict import verdict

ESTIMATE_COLUMNS = [
    "contrast",
    "id",
    "along",
    "treatment",
    "baseline",
    "pairs",
    "left_out",
    "runs_treatment",
    "diverged_treatment",
    "runs_baseline",
    "diverged_baseline",
    "p_diverged",
    "p_diverged_adjusted",
    "diff",
    "sd_diff",
    "error",
    "degrees",
    "se",
    "low",
    "high",
    "p",
    "p_adjusted",
    "family",
    "alpha",
    "margin",
    "verdict",
    "reason",
    *PLAN_COLUMNS,
]


def estimates(differences: pd.DataFrame, criterion: Criterion, *, family: int) -> pd.DataFrame:
    """Estimate, simultaneous interval and verdict of every contrast.

    Args:
        differences: Of `level_differences`, `within_differences`, ...; several in one metric may be concatenated.
        criterion: Direction, margin, level of the family, and error term.
        family: Number of contrasts that the study declares, less those it skips (`family_size`), over all the
            frames that form one family. Not the number of rows: a half-finished study has the family of the
            finished one.

    Returns:
        One row a contrast, in the order of `differences`: the columns of its cell and

        * `contrast`, `id`, `along`, `treatment`, `baseline`.
        * `pairs`: seeds with a value on both sides. `left_out`: seeds run on either side but not paired.
        * `runs_treatment`, `diverged_treatment` (and `_baseline`): finished and diverged runs; `p_diverged`: exact
          McNemar p of the difference, `p_diverged_adjusted` over the family (an endpoint, and a family, of its own).
        * `diff`: mean of treatment - baseline over the pairs, and so of the seeds that both survived; `sd_diff` of
          one difference (ddof 1). In the metric's unit, as `se`, `low`, `high`, `margin`.
        * `error`, `degrees`, `se`: error term, its degrees of freedom, standard error of `diff`.
        * `low`, `high`: diff -+ t(1 - alpha / (2 family)) se: with probability 1 - alpha all intervals of the
          family hold. NaN where `reason` says why: "not run", "diverged", "one seed", "no spread" (equal but
          nonzero differences have no error to judge them by), "identical".
        * `p`: two-sided; `p_adjusted` = min(1, family p): below alpha exactly where the interval excludes 0.
        * `family`, `alpha`: what was used.
        * `verdict`: see `verdict`.
        * `seeds_low`, `seeds_high`, `seeds_equivalent_low`, ...: see `seed_plan`.

    Raises:
        ValueError: a column is missing, an axis has the name of a column of the result, or more contrasts have
            data than `family` declares.
    """
    require_columns(differences, DIFFERENCE_COLUMNS, "differences")
    if (seen := family_seen(differences)) > family:
        raise ValueError(f"family={family}: {seen} contrasts have data; give the number that the study declares")
    return unchecked_estimates(differences, criterion, family)


def unchecked_estimates(differences: pd.DataFrame, criterion: Criterion, family: int) -> pd.DataFrame:
    """`estimates` of rows that need not be one family, such as the cells of a table that has one in each."""
    across = [column for column in differences.columns if column not in DIFFERENCE_COLUMNS]
    require_free_names(across, ESTIMATE_COLUMNS)
    codes, _ = pd.factorize(differences["id"])
    order = np.argsort(codes, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(codes[order])) + 1) if len(order) else []
    firsts = differences.iloc[[group[0] for group in groups]]
    diffs, blocks = differences["diff"].to_numpy(dtype=float), differences["block"].tolist()
    states = [differences[f"{side}_state"].to_numpy(dtype=object) for side in ("treatment", "baseline")]
    residuals = _Residuals()
    rows = []
    for places in groups:
        paired = places[~np.isnan(diffs[places])]
        counts = divergence(states[0][places], states[1][places])
        block = residuals.of(tuple(blocks[place] for place in paired))
        rows.append(_estimate(diffs[paired], len(places), counts, block, criterion, family))
    table = pd.DataFrame(rows, columns=ESTIMATE_COLUMNS)
    columns = ["contrast", "id", "along", *across, "treatment", "baseline"]
    for place, column in enumerate(columns):
        found = pd.Series(firsts[column].tolist(), dtype=None if len(firsts) else object)
        if column in table:
            table = table.drop(columns=column)
        table.insert(place, column, found)
    whole = [column for column in PLAN_COLUMNS if column.startswith("seeds_")]
    return table.astype(dict.fromkeys(whole, "Int64"))


def _estimate(
    diffs: np.ndarray, run: int, counts: Divergence, block: Residual, criterion: Criterion, family: int
) -> dict[str, Any]:
    """What follows from the paired differences of one contrast, of which `run` seeds were begun."""
    n = len(diffs)
    identical = n > 1 and not diffs.any()
    reason = "identical" if identical else _reason(n, counts)
    se = degrees = low = high = p = np.nan
    mean = float(diffs.mean()) if n else np.nan
    if not reason:
        variance, degrees = difference_variance(diffs, block, criterion.error)
        if variance > 0:
            se = float(np.sqrt(variance / n))
            half = float(stdtrit(degrees, 1 - criterion.alpha / (2 * family))) * se
            low, high, p = mean - half, mean + half, 2 * float(stdtr(degrees, -abs(mean) / se))
        else:
            reason, degrees = "no spread", np.nan
    return {
        "pairs": n,
        "left_out": run - n,
        "runs_treatment": counts.treatment_runs,
        "diverged_treatment": counts.treatment,
        "runs_baseline": counts.baseline_runs,
        "diverged_baseline": counts.baseline,
        "p_diverged": counts.p,
        "p_diverged_adjusted": min(1.0, family * counts.p),
        "diff": mean,
        "sd_diff": np.nan if n < 2 else float(diffs.std(ddof=1)) if np.ptp(diffs) else 0.0,
        "error": criterion.error,
        "degrees": degrees,
        "se": se,
        "low": low,
        "high": high,
        "p": p,
        "p_adjusted": np.nan if np.isnan(p) else min(1.0, family * p),
        "family": family,
        "alpha": criterion.alpha,
        "margin": np.nan if criterion.margin is None else criterion.margin,
        "verdict": verdict(low, high, identical, counts, criterion),
        "reason": reason,
        **seed_plan(diffs, block, counts, criterion, family),
    }


class _Residuals:
    """Residuals of blocks, each over the seeds of a pair: of the levels that have a value in all of them.

    The pairs of a cell share their block, and most of them all of its seeds.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[tuple[float, ...], ...], Residual] = {}

    def of(self, seeds: tuple[tuple[float, ...], ...]) -> Residual:
        """Residual of a block that is given seed by seed."""
        if seeds not in self._known:
            values = np.array(seeds, dtype=float).T
            found = residual(values[~np.isnan(values).any(axis=1)]) if seeds else Residual(np.nan, 0)
            self._known[seeds] = found
        return self._known[seeds]


def _reason(n: int, counts: Divergence) -> str:
    """Why there is no interval; "" where there can be one."""
    if n > 1:
        return ""
    if counts.treatment or counts.baseline:
        return "diverged"
    return "one seed" if n else "not run"
