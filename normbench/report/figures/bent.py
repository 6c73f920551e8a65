"""The axis of differences: linear near zero and logarithmic beyond, where some are many times the others."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

WIDE = 10.0  # largest over typical difference from which the axis is linear only near zero
NOTE = "axis linear near 0, logarithmic beyond"


def difference_axis(differences: pd.Series, ends: pd.DataFrame) -> tuple[alt.Scale, alt.Axis, bool]:
    """Scale and axis for differences, and whether they are linear only near zero.

    Args:
        differences: In the unit that is shown.
        ends: What else has to have room: ends of intervals, seeds.
    """
    sizes = differences.abs()
    largest, typical = float(np.nanmax(ends.abs().to_numpy(float))), float(sizes[sizes > 0].median())
    if not (np.isfinite(typical) and typical > 0 and largest / typical > WIDE):
        return alt.Scale(nice=True), alt.Axis(), False
    near = float(10.0 ** np.floor(np.log10(typical)))
    values = sorted({0.0, *(sign * step for step in _steps(near, largest) for sign in (-1, 1))})
    axis = alt.Axis(values=values, format=",.6~f", labelOverlap=True)
    return alt.Scale(type="symlog", constant=near, nice=False), axis, True


def _steps(first: float, last: float) -> list[float]:
    found, step = [], first
    while step <= last:
        found += [step, 3 * step]
        step *= 10
    return found
