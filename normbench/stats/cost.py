"""What a level costs, as a ratio to the baseline: from timings that take turns (A B C A B C)."""

from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from normbench.stats.cell import (
    Columns,
    cells,
    column_names,
    levels_of,
    require_columns,
    require_free_names,
    require_share,
)


def cost_ratios(
    timings: pd.DataFrame,
    factor: str,
    baseline: Any,
    *,
    across: Columns = (),
    cost: str = "seconds",
    turn: str = "round",
    alpha: float = 0.05,
    family: int = 1,
) -> pd.DataFrame:
    """Cost of every level of `factor` as a multiple of the baseline's, in each cell of `across`.

    What else the machine does hits neighbours in time alike: each round gives one ratio, taken within it. Their
    logarithms are averaged, with Student's t interval, and the ends are put back on the scale of the ratio: 2 and
    1/2 are equally far from 1.

    Args:
        timings: One row a measurement: `across`, `factor`, `turn`, `cost`.
        factor: Column whose levels are compared.
        baseline: Level whose cost is 1.
        across: Other axes; a cell each.
        cost: Column of what is measured, positive: seconds, bytes.
        turn: Column that numbers the rounds; a level stands once in a round.
        alpha: Level of the family.
        family: Size of the family (Bonferroni).

    Returns:
        One row a level in each cell: `across`, `factor`, `baseline`, `rounds` (with both), `ratio` (geometric mean),
        `low`, `high` (NaN for fewer than two rounds), `cost` (median of the level), in the unit of `cost`.

    Raises:
        ValueError: a column is missing, a cost is not positive and finite, a level stands twice in a round, or
            `baseline` is no level.
    """
    across = column_names(across)
    require_share("alpha", alpha)
    require_free_names([*across, factor], ["baseline", "rounds", "ratio", "low", "high", "cost"])
    require_columns(timings, [*across, factor, turn, cost], "timings")
    values = timings[cost].to_numpy(dtype=float)
    if not (np.isfinite(values) & (values > 0)).all():
        raise ValueError(f"timings has a {cost!r} that is not positive and finite: leave failed measurements out")
    if timings.duplicated([*across, factor, turn]).any():
        raise ValueError(f"timings has a level of {factor!r} twice in one {turn!r}: number the rounds")
    if baseline not in levels_of(timings, factor):
        raise ValueError(f"{baseline!r} is no value of {factor!r}: choose one of {levels_of(timings, factor)}")
    rows = []
    for cell, part in cells(timings.assign(**{cost: np.log(values)}), across):
        logs = part.pivot(index=turn, columns=factor, values=cost)
        for level in logs.columns:
            ratios = (logs[level] - logs[baseline]).dropna().to_numpy() if baseline in logs else np.empty(0)
            n = len(ratios)
            mean = float(ratios.mean()) if n else np.nan
            half = np.nan
            if n > 1:
                half = float(stdtrit(n - 1, 1 - alpha / (2 * family)) * ratios.std(ddof=1) / np.sqrt(n))
            rows.append(
                {
                    **cell,
                    factor: level,
                    "baseline": baseline,
                    "rounds": n,
                    "ratio": np.exp(mean),
                    "low": np.exp(mean - half),
                    "high": np.exp(mean + half),
                    "cost": float(np.exp(logs[level].median())),
                }
            )
    return pd.DataFrame(rows, columns=[*across, factor, "baseline", "rounds", "ratio", "low", "high", "cost"])
