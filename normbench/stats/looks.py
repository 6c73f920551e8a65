"""Planned looks: to decide what can be decided after few seeds, and to go on only with the rest.

Looking again without correction errs (looks at 3, 5, 8 and 12 seeds: 14 % instead of 5 %). Here the level is split
among the looks in advance, by weights that sum to 1; by the union bound this holds for any test.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from normbench.stats.cell import require_columns
from normbench.stats.criterion import AskedError, Criterion, error_term
from normbench.stats.differences import DIFFERENCE_COLUMNS
from normbench.stats.estimates import estimates

# A contrast is looked at again until it has one of the other verdicts.
_OPEN = "open"


@dataclass(frozen=True)
class Looks:
    """The looks of a study.

    Attributes:
        seeds: Number of seeds at each look, growing: [3, 5, 10].
        spend: Share of the level that each look may spend: [.2, .3, .5].
    """

    seeds: Sequence[int]
    spend: Sequence[float]

    def __post_init__(self) -> None:
        if len(self.seeds) != len(self.spend) or not self.seeds:
            raise ValueError(f"looks={self.seeds} and spend={self.spend} differ in length: give each look its share")
        steps = zip([1, *self.seeds], self.seeds, strict=False)
        if any(after <= before for before, after in steps):
            raise ValueError(f"looks={self.seeds}: give growing numbers of seeds, from 2 on")
        if any(share <= 0 for share in self.spend) or not math.isclose(sum(self.spend), 1, abs_tol=1e-9):
            raise ValueError(f"spend={self.spend}: give shares above 0 that sum to 1, not {sum(self.spend):g}")

    def alpha(self, look: int, alpha: float = 0.05) -> float:
        """Level of the whole family at a look (counted from 0)."""
        return alpha * self.spend[look]


def estimates_at_look(
    differences: pd.DataFrame,
    criterion: Criterion,
    *,
    looks: Looks,
    done: int,
    seeds: Sequence[Any],
    family: int,
    error: AskedError = "auto",
) -> pd.DataFrame:
    """Estimates of a study with planned looks: each contrast at the look that decided it, else at the latest.

    A decision stands: seeds that were trained later (for a neighbour that was still open) do not change it.

    Args:
        differences: See `estimates`.
        criterion: Direction, margin and the level of all looks together; its error term is not used.
        looks: The plan.
        done: How many looks have been made: those for which every planned run has finished or was given up.
        seeds: The values of the planned seeds, in their order; look i uses the first looks.seeds[i].
        family: See `estimates`.
        error: The error term that the study asks for; "auto" goes by the seeds that a look plans.

    Returns:
        The rows of `estimates` (`alpha`: what the row's look may spend) with `look`, counted from 1 (0: none yet), and
        `interim`, whether the contrast is open and a look is still to come. Before the first look every
        contrast is open.

    Raises:
        ValueError: fewer seeds than the last look needs, `done` is no number of looks, or see `estimates`.
    """
    require_columns(differences, DIFFERENCE_COLUMNS, "differences")
    if len(seeds) < looks.seeds[-1]:
        raise ValueError(f"seeds has {len(seeds)} values: the last look needs {looks.seeds[-1]}")
    if not 0 <= done <= len(looks.seeds):
        raise ValueError(f"done={done}: give how many of the {len(looks.seeds)} looks have been made")
    order = list(dict.fromkeys(differences["id"]))
    if not done:
        blank = differences.assign(diff=float("nan"))
        table = estimates(blank, replace(criterion, error=error_term(error, looks.seeds[0])), family=family)
        table["reason"] = "before the first look"
        return table.assign(verdict=_OPEN, look=0, interim=True)
    if not order:
        none = estimates(differences, replace(criterion, error=error_term(error, looks.seeds[0])), family=family)
        return none.assign(look=0, interim=False)
    latest: dict[Any, pd.DataFrame] = {}
    left = differences
    for look in range(done):
        spent = replace(
            criterion,
            alpha=looks.alpha(look, criterion.alpha),
            error=error_term(error, looks.seeds[look]),
        )
        seen = left[left["seed"].isin(list(seeds)[: looks.seeds[look]])]
        table = estimates(seen, spent, family=family).assign(look=look + 1)
        latest |= {row_id: table.loc[[index]] for index, row_id in table["id"].items()}
        left = left[left["id"].isin(open_contrasts(table))]
    result = pd.concat([latest[row_id] for row_id in order if row_id in latest], ignore_index=True)
    return result.assign(interim=(result["verdict"] == _OPEN) & (done < len(looks.seeds)))


def open_contrasts(table: pd.DataFrame) -> list[str]:
    """The `id` of the contrasts of `estimates` that more seeds can still decide.

    "diverged" is decided: further seeds cannot take the divergence back.
    """
    return table.loc[table["verdict"] == _OPEN, "id"].tolist()
