"""Exact paired tests, which refuse to run where their p could never have been small."""

import math
from typing import NamedTuple

import numpy as np
from scipy import stats

from normbench.stats.cell import counted_noun, require_share

_ENUMERATE_UP_TO = 20  # 2^20 sign patterns are one million sums
_RANDOM_PATTERNS = 99_999


class ExactTest(NamedTuple):
    """Result of an exact paired test; `p` is NaN when the test refuses, and `reason` then says why."""

    p: float
    pairs: int
    smallest_p: float
    reason: str


def sign_flip(differences: np.ndarray, *, alpha: float = 0.05, comparisons: int = 1) -> ExactTest:
    """Exact two-sided permutation test of the mean of paired `differences`.

    If treatment and baseline do not differ, each difference is as likely as its negative: p is the share of
    the 2^n sign patterns whose |sum| is at least the observed one (from 21 pairs on, estimated from 99,999
    random patterns, always the same ones). It assumes no normality. Differences of zero say nothing and are
    not counted.

    Args:
        differences: Treatment minus baseline, one a seed, finite.
        alpha: Level of the whole family.
        comparisons: Size of the family; Holm's first step then asks for p <= alpha / comparisons.

    Returns:
        `ExactTest`: `pairs` that differ, and `smallest_p` = 2 / 2^pairs, the least p that they can give.
        Where this is above alpha / comparisons, `p` is NaN and `reason` names the number of seeds that would
        do.

    Source: Fisher 1935, The Design of Experiments, chapter III.
    """
    return _exact(np.asarray(differences, dtype=float), alpha, comparisons)


def wilcoxon_exact(differences: np.ndarray, *, alpha: float = 0.05, comparisons: int = 1) -> ExactTest:
    """Exact two-sided Wilcoxon signed-rank test: `sign_flip` of the signed ranks of the differences.

    Ties share their mean rank, zeros are ranked and then left out (Pratt 1959), and p is exact with both.
    Less sensitive to one outlying seed than `sign_flip`; arguments, result and refusal are the same.

    Source: Wilcoxon 1945, Individual comparisons by ranking methods, Biometrics Bulletin 1(6).
    """
    differences = np.asarray(differences, dtype=float)
    sizes = np.abs(differences)
    # Accuracies are counts of images: sizes that are equal on paper differ in the last bits, and must tie.
    ranks = stats.rankdata(np.round(sizes / (sizes.max(initial=0.0) or 1.0), 6))
    return _exact(np.sign(differences) * ranks, alpha, comparisons)


def seeds_for_exact(alpha: float = 0.05, comparisons: int = 1) -> int:
    """Fewest pairs for which the least p that an exact test can give, 2 / 2^n, is <= alpha / comparisons."""
    require_share("alpha", alpha)
    return math.ceil(1 + math.log2(comparisons / alpha))


def _exact(scores: np.ndarray, alpha: float, comparisons: int) -> ExactTest:
    differing = scores[scores != 0]
    pairs = len(differing)
    smallest = min(1.0, 2.0 ** (1 - pairs))
    needed = seeds_for_exact(alpha, comparisons)
    if pairs >= needed:
        return ExactTest(_sign_flip_p(differing), pairs, smallest, "")
    level = (
        f"the level is {alpha:g}"
        if comparisons == 1
        else f"the first Holm step over {comparisons} comparisons needs {alpha / comparisons:.2g}"
    )
    differ = " that differ" if pairs < len(scores) else ""
    can_give = f"{counted_noun(pairs, 'pair')}{differ} can give p >= {smallest:.2g} at best"
    return ExactTest(np.nan, pairs, smallest, f"{can_give}; {level}: at least {needed} seeds")


def _sign_flip_p(scores: np.ndarray) -> float:
    sizes = np.sort(np.abs(scores))
    # Sums that are equal on paper must count as equal.
    observed = abs(scores.sum()) - 1e-9 * sizes.sum()
    if len(sizes) <= _ENUMERATE_UP_TO:
        sums = np.zeros(1)
        for size in sizes:
            sums = np.concatenate([sums + size, sums - size])
        return float(np.mean(np.abs(sums) >= observed))
    signs = np.random.default_rng(0).choice([-1.0, 1.0], size=(_RANDOM_PATTERNS, len(sizes)))
    # The observed pattern is one of the possible ones: p can then not be zero.
    return float((1 + np.sum(np.abs(signs @ sizes) >= observed)) / (1 + _RANDOM_PATTERNS))
