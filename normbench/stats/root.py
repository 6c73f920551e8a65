"""The root of a function, as SciPy's brentq finds it."""

from collections.abc import Callable


def bracketed_root(f: Callable[[float], float], low: float, high: float, *, xtol: float) -> float:
    """Where `f` crosses zero between `low` and `high`, to within `xtol` and four roundings.

    To the last bit what `scipy.optimize.brentq` gives, whose import takes longer than all roots of a report.

    Source: Brent 1973, Algorithms for Minimization Without Derivatives, chapter 4, as in SciPy's brentq.c.
    """
    rtol = 2.0**-50
    last, now = low, high
    f_last, f_now = f(last), f(now)
    if f_last == 0:
        return last
    if f_now == 0:
        return now
    if (f_last < 0) == (f_now < 0):
        raise ValueError(f"f has one sign at {low} and {high}: give ends between which it crosses zero")
    other, f_other, step_before, step = last, f_last, 0.0, 0.0  # the root lies between `now` and `other`
    while True:
        if f_last != 0 and f_now != 0 and (f_last < 0) != (f_now < 0):
            other, f_other = last, f_last
            step_before = step = now - last
        if abs(f_other) < abs(f_now):
            last, now, other = now, other, now
            f_last, f_now, f_other = f_now, f_other, f_now
        least, half = (xtol + rtol * abs(now)) / 2, (other - now) / 2
        if f_now == 0 or abs(half) < least:
            return now
        tried = None
        if abs(step_before) > least and abs(f_now) < abs(f_last):
            if last == other:
                tried = -f_now * (now - last) / (f_now - f_last)
            else:
                slope, slope_other = (f_last - f_now) / (last - now), (f_other - f_now) / (other - now)
                tried = -f_now * (f_other * slope_other - f_last * slope)
                tried /= slope_other * slope * (f_other - f_last)
        if tried is not None and 2 * abs(tried) < min(abs(step_before), 3 * abs(half) - least):
            step_before, step = step, tried
        else:
            step_before = step = half
        last, f_last = now, f_now
        now += step if abs(step) > least else least if half > 0 else -least
        f_now = f(now)
