"""How many seeds a question needs, and how small a difference the seeds that were run can show."""

import math
from collections.abc import Callable, Iterable
from functools import cache

import numpy as np
import pandas as pd
from scipy import optimize, special

from normbench.stats.cell import require_share

MOST_SEEDS = 1000  # beyond it stands "no": nobody trains so many


def paired_power(difference: float, sd: float, n: int, *, alpha: float = 0.05) -> float:
    """Probability that the two-sided paired t test over `n` seeds finds a true `difference`.

    At level `alpha`. Exact for normal differences of standard deviation `sd` (both in the metric's unit). The
    square of t has the noncentral F distribution with (1, n - 1) degrees of freedom and noncentrality n
    (difference / sd)^2; the noncentral t itself gives NaN for some large noncentralities in SciPy.

    Source: Cohen 1988, Statistical Power Analysis for the Behavioral Sciences, chapter 2.
    """
    critical = special.stdtrit(n - 1, 1 - alpha / 2)
    return float(1 - special.ncfdtr(1, n - 1, n * (difference / sd) ** 2, critical**2))


def equivalence_power(margin: float, sd: float, n: int, *, alpha: float = 0.05) -> float:
    """Probability that the two-sided 1 - `alpha` interval over `n` seeds lies within +- `margin`, without a difference.

    These are two one-sided tests at alpha / 2 each, the one interval from which every verdict is read. Exact for
    normal differences: given the estimated sd s, the mean must lie within margin - t s / sqrt(n); integrated over
    the distribution of s by Gauss and Legendre.

    Source: Phillips 1990, Power of the two one-sided tests procedure in bioequivalence, J. Pharmacokinet. Biopharm. 18.
    """
    degrees, reach = n - 1, math.sqrt(n) * margin / sd
    critical = float(special.stdtrit(degrees, 1 - alpha / 2))
    most = special.gammainc(degrees / 2, degrees * (reach / critical) ** 2 / 2)  # P(the interval is short enough)
    nodes, weights = _nodes()
    s = np.sqrt(special.gammaincinv(degrees / 2, most * nodes) * 2 / degrees)
    inside = 2 * special.ndtr(np.maximum(reach - critical * s, 0.0)) - 1
    return float(most * (weights @ inside))


@cache
def _nodes() -> tuple[np.ndarray, np.ndarray]:
    x, w = np.polynomial.legendre.leggauss(64)
    return (x + 1) / 2, w / 2


def seeds_needed(difference: float, sd: float, *, power: float = 0.8, alpha: float = 0.05) -> int | None:
    """Fewest seeds (at least 2) that find a true `difference` with probability `power` by a paired t test.

    Args:
        difference: The smallest difference that matters, in the metric's unit. Not the observed one: a power
            computed from it only restates its p (Hoenig & Heisey 2001, The Abuse of Power).
        sd: Standard deviation of the paired difference over seeds, in the metric's unit. Estimated from few seeds
            it is rough: give its upper limit too (`sd_upper_limit`), and print the range.
        power: Probability to find the difference.
        alpha: Two-sided level; in a family of m comparisons, alpha / m.

    Returns:
        The number; None where it is more than `MOST_SEEDS`.

    Raises:
        ValueError: `difference` is zero or not finite, `sd` not positive, `power` or `alpha` not a fraction.
    """
    _check(sd, power, alpha)
    if not (np.isfinite(difference) and difference):
        raise ValueError(f"difference={difference!r}: no number of seeds finds it; give a finite one above zero")
    return _fewest(lambda n: _detectable_effect(n, power, alpha) <= abs(difference) / sd)  # the effects are cached


def seeds_for_equivalence(margin: float, sd: float, *, power: float = 0.8, alpha: float = 0.05) -> int | None:
    """Fewest seeds (at least 2) that show a true difference of zero to be equivalent within `margin`.

    Arguments, result and errors are those of `seeds_needed`; see `equivalence_power`.
    """
    _check(sd, power, alpha)
    if not (np.isfinite(margin) and margin > 0):
        raise ValueError(f"margin={margin!r} is not positive: give the smallest difference that matters")
    return _fewest(lambda n: _equivalent_effect(n, power, alpha) <= margin / sd)


def _fewest(enough: Callable[[int], bool]) -> int | None:
    """Fewest seeds that are enough, by bisection: power grows with the seeds."""
    low, high = 1, 2
    while not enough(high):
        if high >= MOST_SEEDS:
            return None
        low, high = high, min(2 * high, MOST_SEEDS)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def sd_upper_limit(sd: float, degrees: float, *, level: float = 0.95) -> float:
    """One-sided upper confidence limit of a standard deviation estimated with `degrees` degrees of freedom.

    In the unit of `sd`: over 3 seeds of one pair (2 degrees) it is 4.4 times the estimate, pooled over five norms
    (8 degrees) 1.7 times. Exact for normal values.
    """
    require_share("level", level)
    return float(sd * np.sqrt(degrees / (2 * special.gammaincinv(degrees / 2, 1 - level))))


def detectable_difference(n: int, sd: float, *, power: float = 0.8, alpha: float = 0.05) -> float:
    """Smallest true difference that `n` seeds find with probability `power`, in the metric's unit.

    The inverse of `seeds_needed`, with the same arguments and errors; `n` is at least 2.
    """
    _check(sd, power, alpha)
    if n < 2:
        raise ValueError(f"n={n}: a paired test needs at least 2 seeds")
    return sd * _detectable_effect(n, power, alpha)


def detectable_by_seeds(
    sd: float, sd_upper: float, seeds: Iterable[int] = range(2, 31), *, power: float = 0.8, alpha: float = 0.05
) -> pd.DataFrame:
    """What n seeds can show: columns `seeds`, `detectable_low`, `detectable_high`, `equivalent_low`, `equivalent_high`.

    Smallest difference that is found, and smallest margin within which no difference is shown to be equivalent, each
    with probability `power`, at `sd` and at `sd_upper`; in the metric's unit. Errors are those of `seeds_needed`.
    """
    _check(sd, power, alpha)
    _check(sd_upper, power, alpha)
    rows = []
    for n in seeds:
        found, equal = detectable_difference(n, 1.0, power=power, alpha=alpha), _equivalent_effect(n, power, alpha)
        rows.append((n, sd * found, sd_upper * found, sd * equal, sd_upper * equal))
    names = ["seeds", "detectable_low", "detectable_high", "equivalent_low", "equivalent_high"]
    return pd.DataFrame(rows, columns=names)


@cache  # a table asks for the same n over and over
def _detectable_effect(n: int, power: float, alpha: float) -> float:
    """Smallest detectable difference in units of its standard deviation."""
    return _least_effect(lambda effect: paired_power(effect, 1.0, n, alpha=alpha) - power)


@cache
def _equivalent_effect(n: int, power: float, alpha: float) -> float:
    """Smallest margin that can be shown, in units of the standard deviation."""
    return _least_effect(lambda effect: equivalence_power(effect, 1.0, n, alpha=alpha) - power)


def _least_effect(excess: Callable[[float], float]) -> float:
    if excess(0.0) >= 0:
        return 0.0
    high = 1.0
    while excess(high) < 0:
        high *= 2
    return float(optimize.brentq(excess, 0.0, high, xtol=1e-12))


def _check(sd: float, power: float, alpha: float) -> None:
    require_share("power", power)
    require_share("alpha", alpha)
    if not (sd > 0 and math.isfinite(sd)):
        raise ValueError(f"sd={sd!r}: the sd of the paired difference must be positive; run at least 2 seeds")
