"""Paired comparisons of the levels of a factor, corrected over the table they make, each with a verdict."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy.special import stdtr, stdtrit

from normbench.stats.cell import Columns, column_names, counted_noun, counted_runs, levels_of, require_share
from normbench.stats.exact import sign_flip, wilcoxon_exact
from normbench.stats.pairs import PAIR_COLUMNS, paired_differences
from normbench.stats.power import detectable_difference, seeds_needed

_EXACT_TESTS = {"sign-flip": sign_flip, "wilcoxon": wilcoxon_exact}


@dataclass(frozen=True)
class Criterion:
    """What counts as a difference in a metric, and how sure one must be of it.

    Attributes:
        higher_is_better: True for an accuracy, False for a loss or a time.
        margin: The smallest difference that matters, in the metric's unit; None: equivalence is not tested.
        chance: Value with which a diverged run counts; None: pairs with a diverged run are left out, and
            counted.
        alpha: Level of the whole family of a table; intervals are 1 - alpha.
        power: For the seeds needed and the detectable difference.
        test: What `p` is. The exact tests assume no normality, but refuse where n is too small (see
            `sign_flip`).
    """

    higher_is_better: bool = True
    margin: float | None = None
    chance: float | None = None
    alpha: float = 0.05
    power: float = 0.8
    test: Literal["t", "sign-flip", "wilcoxon"] = "t"

    def __post_init__(self) -> None:
        require_share("alpha", self.alpha)
        require_share("power", self.power)
        if self.margin is not None and not self.margin > 0:
            raise ValueError(f"margin={self.margin!r} is not positive: give the smallest difference that matters")
        if self.test not in ("t", *_EXACT_TESTS):
            raise ValueError(f"test={self.test!r} is unknown: choose one of {['t', *_EXACT_TESTS]}")


DEFAULT_CRITERION = Criterion()

COMPARISON_COLUMNS = [
    *PAIR_COLUMNS,
    "diff_ci_low",
    "diff_ci_high",
    "p",
    "p_holm",
    "p_equivalent",
    "p_equivalent_holm",
    "margin",
    "verdict",
    "seeds_needed",
    "detectable",
    "note",
]


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's adjusted p: to reject those <= alpha errs anywhere in the family with probability <= alpha.

    NaN (a comparison that could not be tested) stays NaN and still counts in the family, so that the other
    adjusted values do not move while a study fills up.

    Source: Holm 1979, A simple sequentially rejective multiple test procedure, Scand. J. Statist. 6.
    """
    p = np.asarray(p, dtype=float)
    order = np.argsort(p, kind="stable")  # NaN last
    steps = p[order] * np.arange(len(p), 0, -1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def compare_to_baseline(
    runs: pd.DataFrame,
    metric: str,
    factor: str,
    baseline: Any,
    *,
    across: Columns = (),
    criterion: Criterion = DEFAULT_CRITERION,
) -> pd.DataFrame:
    """Every level of `factor` against `baseline`, within the seed and within each cell of `across`.

    Runs are paired by the values of `seed` and of the columns `across`, never by the position of their rows.

    Args:
        runs: One row a run; see `summarize`.
        metric: Column to compare.
        factor: Column whose levels are compared, e.g. "norm".
        baseline: Level of `factor` that the others are compared with.
        across: Every other axis of the study, e.g. ["dataset", "batch_size"]; one comparison in each of its
            cells.
        criterion: Direction, margin, level and test.

    Returns:
        One row a comparison for which either side was run, sorted by `across`, `treatment`; all rows are one
        family.

        * `across`, `treatment`, `baseline`.
        * `pairs`: seeds with a value on both sides. `left_out`: seeds run on either side but not paired.
          `diverged`: seeds where a side diverged; those pairs count only where the criterion has a `chance`.
        * `diff`: mean of treatment - baseline; `sd_diff` over pairs (ddof 1); `diff_ci_low`, `diff_ci_high`:
          paired t interval of this row alone, not corrected for the family. In the metric's unit.
        * `p`: two-sided, of "no difference"; `p_holm`: corrected over all rows.
        * `p_equivalent`: two one-sided paired t tests (TOST) of "the difference is at least `margin`";
          `p_equivalent_holm`: corrected over all rows, as a family of its own. NaN without a `margin`.
        * `margin`.
        * `verdict`: "better" or "worse" if `p_holm` <= alpha (even inside the margin: the interval shows how
          small the difference is); else "equivalent within <margin>" if `p_equivalent_holm` <= alpha; else
          "not distinguishable with <pairs> seeds".
        * `seeds_needed`: to find a true difference of `margin` with the criterion's power by the paired t
          test, from `sd_diff`; `detectable`: the smallest difference that `pairs` seeds find so, in the
          metric's unit. Both at the level alpha / rows, Holm's first step: they suffice whatever the other
          rows give.
        * `note`: why a p is missing or not that of the chosen test, else "".

        With fewer than two pairs all but `diff` is NaN. When all differences are equal, t is not defined: the
        interval, `seeds_needed` and `detectable` are missing, and the two p are those of the exact sign-flip
        test (2 / 2^n, or 1 if all differences are zero; for equivalence 1 / 2^n inside the margin, else 1).

    Raises:
        ValueError: `baseline` is no level of `factor`; or see `counted_runs`.

    Source: TOST, Schuirmann 1987, J. Pharmacokinet. Biopharm. 15(6).
    """
    levels = levels_of(runs, factor)
    if baseline not in levels:
        raise ValueError(f"baseline {baseline!r} is no value of {factor!r}: choose one of {levels}")
    sides = [(level, baseline) for level in levels if level != baseline]
    return _compared(runs, metric, factor, sides, column_names(across), criterion)


def compare_all_pairs(
    runs: pd.DataFrame,
    metric: str,
    factor: str,
    *,
    across: Columns = (),
    criterion: Criterion = DEFAULT_CRITERION,
) -> pd.DataFrame:
    """Every pair of levels of `factor`, within the seed and within each cell of `across`.

    Arguments, columns and errors are those of `compare_to_baseline`; the level that sorts first is the
    baseline of its pair, and all pairs in all cells are one family.
    """
    sides = [(second, first) for first, second in combinations(levels_of(runs, factor), 2)]
    return _compared(runs, metric, factor, sides, column_names(across), criterion)


def tested(pairs: pd.DataFrame, criterion: Criterion) -> pd.DataFrame:
    """`pairs` (see `paired_differences`), taken as one family, with the columns `p`, `p_holm` and `note`."""
    results = [_p_value(differences, criterion, len(pairs)) for differences in pairs["differences"]]
    p = np.array([p for p, _ in results], dtype=float)
    return pairs.assign(p=p, p_holm=holm(p), note=[note for _, note in results])


def _p_value(differences: np.ndarray, criterion: Criterion, family: int) -> tuple[float, str]:
    n = len(differences)
    if n < 2:
        return np.nan, f"{counted_noun(n, 'pair')}: a comparison needs at least 2"
    if criterion.test != "t":
        exact = _EXACT_TESTS[criterion.test](differences, alpha=criterion.alpha, comparisons=family)
        return exact.p, exact.reason
    if np.ptp(differences) == 0:
        return 2.0 ** (1 - n) if differences[0] else 1.0, "all differences are equal: exact sign-flip p"
    return _t_tail(abs(differences.mean()), differences) * 2, ""


def _p_equivalent(differences: np.ndarray, margin: float | None) -> float:
    n = len(differences)
    if n < 2 or margin is None:
        return np.nan
    room = margin - abs(differences.mean())  # of the two one-sided tests, the nearer bound has the larger p
    if np.ptp(differences) == 0:
        return 2.0**-n if room > 0 else 1.0
    return _t_tail(room, differences)


def _t_tail(distance: float, differences: np.ndarray) -> float:
    """P(T >= distance / standard error of the mean difference), T with n - 1 degrees of freedom."""
    return float(stdtr(len(differences) - 1, -distance / _standard_error(differences)))


def _standard_error(differences: np.ndarray) -> float:
    return float(differences.std(ddof=1) / np.sqrt(len(differences)))


def _compared(
    runs: pd.DataFrame,
    metric: str,
    factor: str,
    sides: Sequence[tuple[Any, Any]],
    across: list[str],
    criterion: Criterion,
) -> pd.DataFrame:
    counted = counted_runs(runs, [*across, factor], metric, criterion.chance)
    table = tested(paired_differences(counted, factor, sides, across), criterion)
    margin = criterion.margin
    p_equivalent = np.array([_p_equivalent(d, margin) for d in table["differences"]], dtype=float)
    table = table.assign(
        p_equivalent=p_equivalent,
        p_equivalent_holm=holm(p_equivalent),
        margin=np.nan if margin is None else margin,
    )
    half = [_half_width(differences, criterion.alpha) for differences in table["differences"]]
    table = table.assign(diff_ci_low=table["diff"] - half, diff_ci_high=table["diff"] + half)
    table["verdict"] = [_verdict(row, criterion) for row in table.to_dict("records")]
    plans = [_plan(n, sd, criterion, len(table)) for n, sd in zip(table["pairs"], table["sd_diff"], strict=True)]
    table["seeds_needed"] = pd.array([needed for needed, _ in plans], dtype="Int64")
    table["detectable"] = np.array([detectable for _, detectable in plans], dtype=float)
    return table[[*across, *COMPARISON_COLUMNS]]


def _half_width(differences: np.ndarray, alpha: float) -> float:
    n = len(differences)
    if n < 2 or np.ptp(differences) == 0:
        return np.nan
    return float(stdtrit(n - 1, 1 - alpha / 2) * _standard_error(differences))


def _verdict(row: dict[Hashable, Any], criterion: Criterion) -> str:
    if row["p_holm"] <= criterion.alpha:
        return "better" if (row["diff"] > 0) == criterion.higher_is_better else "worse"
    if row["p_equivalent_holm"] <= criterion.alpha:
        return f"equivalent within {criterion.margin:g}"
    return f"not distinguishable with {counted_noun(row['pairs'], 'seed')}"


def _plan(n: int, sd: float, criterion: Criterion, family: int) -> tuple[int | None, float]:
    """(seeds needed for the margin, detectable difference); missing where the sd says nothing."""
    if not sd > 0:
        return None, np.nan
    alpha, power = criterion.alpha / family, criterion.power
    needed = None if criterion.margin is None else seeds_needed(criterion.margin, sd, power=power, alpha=alpha)
    return needed, detectable_difference(n, sd, power=power, alpha=alpha)
