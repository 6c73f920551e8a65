"""Divergence as an endpoint of its own: how many runs of each side, compared exactly within the seed."""

from typing import NamedTuple

import numpy as np
from scipy.special import bdtr


class Divergence(NamedTuple):
    """Divergence of the two sides of a contrast.

    Attributes:
        treatment: Diverged runs of the treatment, of `treatment_runs`.
        treatment_runs: Its finished runs.
        baseline: Diverged runs of the baseline, of `baseline_runs`.
        baseline_runs: Its finished runs.
        only_treatment: Seeds in which the treatment diverged and the baseline was run and did not.
        only_baseline: The converse.
        p: Exact two-sided p of "both are as likely to diverge", over the discordant seeds.
    """

    treatment: int
    treatment_runs: int
    baseline: int
    baseline_runs: int
    only_treatment: int
    only_baseline: int
    p: float


def divergence(treatment_state: np.ndarray, baseline_state: np.ndarray) -> Divergence:
    """Counts and exact paired comparison, from the states ("done", "diverged", "not run") of each seed."""
    treatment, baseline = np.asarray(treatment_state), np.asarray(baseline_state)
    more = int(((treatment == "diverged") & (baseline == "done")).sum())
    fewer = int(((treatment == "done") & (baseline == "diverged")).sum())
    return Divergence(
        int((treatment == "diverged").sum()),
        int((treatment != "not run").sum()),
        int((baseline == "diverged").sum()),
        int((baseline != "not run").sum()),
        more,
        fewer,
        exact_mcnemar(more, fewer),
    )


def exact_mcnemar(only_first: int, only_second: int) -> float:
    """Exact two-sided McNemar p (the sign test on the discordant pairs); 1 without any.

    Source: McNemar 1947, Psychometrika 12; exact by the binomial distribution with share one half.
    """
    n = only_first + only_second
    return min(1.0, 2 * float(bdtr(min(only_first, only_second), n, 0.5))) if n else 1.0


def seeds_for_exact(*, alpha: float = 0.05, comparisons: int = 1) -> int:
    """Fewest seeds with which an exact paired test can reach alpha / comparisons: 2 / 2^n is its least p.

    Below it, sign, sign-flip and Wilcoxon tests cannot find anything, however large (6 seeds for one comparison
    at 5 %).
    """
    n = 1
    while 2.0 ** (1 - n) > alpha / comparisons:
        n += 1
    return n
