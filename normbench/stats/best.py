"""Which of several means in a table may be shown as the best."""

from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from normbench.stats.cell import (
    Columns,
    Missing,
    cell_key,
    cells,
    column_names,
    counted_runs,
    levels_of,
    require_columns,
    require_free_names,
)
from normbench.stats.criterion import DEFAULT_CRITERION, Criterion
from normbench.stats.differences import family_seen, seed_differences
from normbench.stats.estimates import estimates


def mark_best(
    runs: pd.DataFrame,
    metric: str,
    factor: str,
    *,
    across: Columns = (),
    criterion: Criterion = DEFAULT_CRITERION,
    planned: pd.DataFrame | None = None,
    missing: Missing = "diverged",
) -> pd.DataFrame:
    """Which levels of `factor` may be shown as the best, in each cell of `across` (a column of a table).

    Every level is compared with the best one (the fewest diverged runs, then the best mean) by its simultaneous
    interval over all declared pairs of levels of the cell, not only over those with the best: the best was chosen by
    the same data, and only the larger family covers that choice.

    Args:
        runs: One row a run; see `level_differences`.
        metric: Column to compare.
        factor: Column whose levels are compared.
        across: Every other axis of the study.
        criterion: Direction, level and error term; its margin plays no part here.
        planned: The cells that the study declares less those it skips, one row each with the columns `across` and
            `factor` (more rows and columns do no harm). They give the family, so that a mark does not come and
            go while a study fills up; None: the cells of `runs`.
        missing: What a value is that is not finite; see `counted_runs`.

    Returns:
        One row for each level in each cell: `across`, `factor`, `n_used`, `mean`, `p_adjusted` against the best
        (NaN for the best itself, and where there is no test), `family`, and `mark`:

        * "best": told apart from every other level with a mean; at most one in a cell.
        * "tied": the best, or one not told apart from it, where there are several.
        * "": told apart from the best; without a mean; diverged where the best did not; or alone in its cell.

    Raises:
        ValueError: see `level_differences`; or `planned` lacks a cell of `runs`.
    """
    across = column_names(across)
    require_free_names([*across, factor], ["n_used", "mean", "p_adjusted", "family", "mark"])
    planned = runs if planned is None else planned
    require_columns(planned, [*across, factor], "planned")
    declared = {cell_key(cell): part[factor].nunique() for cell, part in cells(planned[[*across, factor]], across)}
    sides = [(second, first) for first, second in combinations(levels_of(runs, factor), 2)]
    rows: list[dict[str, Any]] = []
    for cell, part in cells(counted_runs(runs, [*across, factor], metric, missing=missing), across):
        levels = declared.get(cell_key(cell), 0)
        differences = seed_differences(part.drop(columns=across), factor, sides, (), contrast="best")
        family = max(1, levels * (levels - 1) // 2)
        if family_seen(differences) > family:
            raise ValueError(f"planned has {levels} levels of {factor!r} at {cell}, runs has more: give the whole plan")
        pairs = estimates(differences, replace(criterion, margin=None), family=family)
        rows += [{**cell, **row, "family": family} for row in _marked(part, factor, pairs, criterion)]
    return pd.DataFrame(rows, columns=[*across, factor, "n_used", "mean", "p_adjusted", "family", "mark"])


def _marked(part: pd.DataFrame, factor: str, pairs: pd.DataFrame, criterion: Criterion) -> list[dict[str, Any]]:
    """The rows of one cell, in the order of the levels."""
    groups = {cell[factor]: group for cell, group in cells(part, [factor])}
    values = {level: np.sort(group["value"].dropna()) for level, group in groups.items()}
    sign = 1 if criterion.higher_is_better else -1
    means = {level: float(found.mean()) for level, found in values.items() if len(found)}
    fewest = {level: -int(groups[level]["diverged"].sum()) for level in means}
    best = max(means, key=lambda level: (fewest[level], sign * means[level]), default=None)
    p, apart, out = {}, set(), set()
    for row in pairs.to_dict("records"):
        if best not in (row["treatment"], row["baseline"]):
            continue
        is_treatment = row["treatment"] == best
        other = row["baseline"] if is_treatment else row["treatment"]
        p[other] = row["p_adjusted"]
        # Where seeds are missing, the pairs can contradict the means: then nothing is told apart.
        ahead = (row["diff"] > 0) == (is_treatment == criterion.higher_is_better)
        if row["p_adjusted"] < criterion.alpha and ahead:
            apart.add(other)
        if row["verdict"] == ("baseline diverged" if is_treatment else "diverged"):
            out.add(other)
    top = [level for level in means if level not in apart and level not in out]
    told = set(means) - {best} <= apart
    mark = "best" if told else "tied"
    return [
        {
            factor: level,
            "n_used": len(values[level]),
            "mean": means.get(level, np.nan),
            "p_adjusted": p.get(level, np.nan),
            "mark": mark if level in top and len(means) > 1 else "",
        }
        for level in groups
    ]
