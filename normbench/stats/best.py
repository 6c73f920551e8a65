"""Which of several means in a table may be shown as the best."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from normbench.stats.cell import (
    Columns,
    Missing,
    cell_key,
    cell_places,
    cells,
    column_names,
    counted_runs,
    levels_of,
    require_columns,
    require_free_names,
)
from normbench.stats.criterion import DEFAULT_CRITERION, Criterion
from normbench.stats.differences import seed_differences
from normbench.stats.estimates import unchecked_estimates


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
    counted = counted_runs(runs, [*across, factor], metric, missing=missing)
    found = list(cell_places(counted, across))
    number = np.zeros(len(counted), dtype=int)
    for place, (_, places) in enumerate(found):
        number[places] = place
    # All cells at once, under one name that no axis has.
    name = f"cell of {factor}"
    values = counted.drop(columns=across).assign(**{name: number})
    differences = seed_differences(values, factor, sides, [name], contrast="best")
    of = differences[name].to_numpy(int)
    families = np.array([_family(declared.get(cell_key(cell), 0)) for cell, _ in found], dtype=int)
    paired = differences[differences["diff"].notna()].groupby(name)["id"].nunique()
    for place, seen in zip(paired.index.astype(int), paired, strict=True):
        if seen > families[place]:
            cell = found[place][0]
            levels = declared.get(cell_key(cell), 0)
            raise ValueError(f"planned has {levels} levels of {factor!r} at {cell}, runs has more: give the whole plan")
    pairs: list[list[dict[Any, Any]]] = [[] for _ in found]
    for family in np.unique(families):
        table = unchecked_estimates(differences[families[of] == family], replace(criterion, margin=None), int(family))
        for row in table.to_dict("records"):
            pairs[row[name]].append(row)
    rows: list[dict[str, Any]] = []
    named = [(level[factor], of_level) for level, of_level in cell_places(counted, [factor])]
    rank = np.zeros(len(counted), dtype=int)
    for place, (_, of_level) in enumerate(named):
        rank[of_level] = place
    value, diverged = counted["value"].to_numpy(), counted["diverged"].to_numpy()
    for place, (cell, places) in enumerate(found):
        groups = {named[r][0]: places[rank[places] == r] for r in np.unique(rank[places])}
        marked = _marked(value, diverged, groups, factor, pairs[place], criterion)
        rows += [{**cell, **row, "family": int(families[place])} for row in marked]
    return pd.DataFrame(rows, columns=[*across, factor, "n_used", "mean", "p_adjusted", "family", "mark"])


def _family(levels: int) -> int:
    """Pairs of levels."""
    return max(1, levels * (levels - 1) // 2)


def _marked(
    value: np.ndarray,
    diverged: np.ndarray,
    groups: Mapping[Any, np.ndarray],
    factor: str,
    pairs: list[dict[Any, Any]],
    criterion: Criterion,
) -> list[dict[str, Any]]:
    """The rows of one cell, in the order of its levels, whose runs have their places in `groups`."""
    values = {level: np.sort(value[places][~np.isnan(value[places])]) for level, places in groups.items()}
    sign = 1 if criterion.higher_is_better else -1
    means = {level: float(found.mean()) for level, found in values.items() if len(found)}
    fewest = {level: -int(diverged[groups[level]].sum()) for level in means}
    best = max(means, key=lambda level: (fewest[level], sign * means[level]), default=None)
    p, apart, out = {}, set(), set()
    for row in pairs:
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
