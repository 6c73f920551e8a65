"""Where each part of a criterion was measured, against where it has to lie: the figure of a claim without a curve."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from normbench.findings.finding import Bound, Quantity
from normbench.findings.summary import COLORS

if TYPE_CHECKING:
    import altair as alt

BAND = "#9ecae1"
WIDTH, HEIGHT, LINE = 460, 34, 80  # of a part in pixels; letters of a title's line
CAPTION = (
    "Dot and line: what was measured and its 95 % interval. Shaded: where the claim asks it to lie. "
    "Green: inside; orange: outside; blue: open."
)


def margins_chart(parts: Sequence[tuple[Bound, Quantity]]) -> alt.VConcatChart | None:
    """A row for each part that has an interval, each on an axis of its own; None where no part has one."""
    import altair as alt

    rows = [_row(bound, found) for bound, found in parts if found.low < found.high and math.isfinite(found.value)]
    return alt.vconcat(*rows, spacing=14) if rows else None


def _row(bound: Bound, found: Quantity) -> Any:
    import altair as alt
    import pandas as pd

    edges = [edge for edge in (bound.low, bound.high) if math.isfinite(edge)]
    first, last = min(found.low, *edges), max(found.high, *edges)
    first, last = first - 0.12 * (last - first), last + 0.12 * (last - first)
    scale = alt.Scale(domain=[first, last], nice=False, zero=False)
    asked = pd.DataFrame({"low": [max(bound.low, first)], "high": [min(bound.high, last)]})
    seen = pd.DataFrame({"low": [found.low], "high": [found.high], "value": [found.value]})
    color = COLORS[bound.verdict(found)]
    axis = alt.Axis(format="~g", tickCount=6, grid=False)
    layers: list[Any] = [
        alt.Chart(asked).mark_rect(color=BAND, opacity=0.35).encode(x=alt.X("low:Q", scale=scale), x2="high:Q"),
        alt.Chart(seen).mark_rule(color=color, strokeWidth=2).encode(x=alt.X("low:Q", scale=scale), x2="high:Q"),
        alt.Chart(seen)
        .mark_point(color=color, filled=True, size=80, opacity=1)
        .encode(x=alt.X("value:Q", scale=scale, axis=axis, title=None)),
    ]
    title = alt.TitleParams(textwrap.wrap(bound.text, LINE), anchor="start", fontWeight="normal", fontSize=12)
    return alt.layer(*layers).properties(width=WIDTH, height=HEIGHT, title=title)
