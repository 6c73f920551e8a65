"""How many seeds a question needs, and how small a difference the seeds that were run can show."""

import math
from functools import cache

import numpy as np
from scipy import optimize, special

from normbench.stats.cell import require_share

_NORMAL_FROM = 1_000_000  # from so many seeds on, t is normal but for one seed in a million
_LARGEST_RATIO = 1e7  # sd / difference: beyond it stands "never", and the answer still fits an int64


def paired_power(difference: float, sd: float, n: int, *, alpha: float = 0.05) -> float:
    """Probability that the two-sided paired t test over `n` seeds finds a true `difference`.

    At level `alpha`. Exact for normal differences of standard deviation `sd` (both in the metric's unit). The
    square of t has the noncentral F distribution with (1, n - 1) degrees of freedom and noncentrality n
    (difference / sd)^2; the noncentral t itself gives NaN for some large noncentralities in SciPy.

    Source: Cohen 1988, Statistical Power Analysis for the Behavioral Sciences, chapter 2.
    """
    critical = special.stdtrit(n - 1, 1 - alpha / 2)
    return float(1 - special.ncfdtr(1, n - 1, n * (difference / sd) ** 2, critical**2))


def seeds_needed(difference: float, sd: float, *, power: float = 0.8, alpha: float = 0.05) -> int:
    """Fewest seeds (at least 2) that find a true `difference` with probability `power` by a paired t test.

    Args:
        difference: The smallest difference that matters, in the metric's unit. Not the observed one: a power
            computed from it only restates its p (Hoenig & Heisey 2001, The Abuse of Power).
        sd: Standard deviation of the paired difference over seeds, in the metric's unit. Estimated from few
            seeds it is rough (over 3 seeds, the 95 % interval of the true sd reaches from half to six times
            it).
        power: Probability to find the difference.
        alpha: Two-sided level; in a family of m comparisons, alpha / m is what Holm's first step asks.

    Raises:
        ValueError: `difference` is zero or not finite, `sd` not positive, `power` or `alpha` not a fraction.
    """
    _check(sd, power, alpha)
    if not (np.isfinite(difference) and difference):
        raise ValueError(f"difference={difference!r}: no number of seeds finds it; give a finite one above zero")

    def enough(n: int) -> bool:
        return paired_power(difference, sd, n, alpha=alpha) >= power

    ratio = min(sd / abs(difference), _LARGEST_RATIO)
    n = max(2, math.ceil(((special.ndtri(1 - alpha / 2) + special.ndtri(power)) * ratio) ** 2))
    if n > _NORMAL_FROM:
        return n
    while not enough(n):
        n += 1
    while n > 2 and enough(n - 1):
        n -= 1
    return n


def detectable_difference(n: int, sd: float, *, power: float = 0.8, alpha: float = 0.05) -> float:
    """Smallest true difference that `n` seeds find with probability `power`, in the metric's unit.

    The inverse of `seeds_needed`, with the same arguments and errors; `n` is at least 2.
    """
    _check(sd, power, alpha)
    if n < 2:
        raise ValueError(f"n={n}: a paired test needs at least 2 seeds")
    return sd * _detectable_effect(n, power, alpha)


@cache  # a table asks for the same n over and over
def _detectable_effect(n: int, power: float, alpha: float) -> float:
    """Smallest detectable difference in units of its standard deviation."""

    def excess(effect: float) -> float:
        return paired_power(effect, 1.0, n, alpha=alpha) - power

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
