"""The metric against training speed: what a level gives and what it costs, where `normbench cost` measured it."""

from __future__ import annotations

import altair as alt
import pandas as pd

from normbench.report.cost import measured_cells
from normbench.report.evidence import Evidence
from normbench.report.figures import frames
from normbench.report.figures.style import PANEL, WIDTH, Figure, Marks, capital, titled


def figure(evidence: Evidence) -> Figure | None:
    """A point a cell, a panel for each cell of the other axes: levels are compared within it."""
    speeds = measured_cells(evidence)
    if speeds is None or not evidence.chosen[evidence.metric.name].notna().any():
        return None
    frame, shown = frames.cell_frame(evidence, evidence.metric)
    speeds = frames.drawn(evidence, speeds).rename(columns={"low": "slowest", "high": "fastest"})
    keys = [name for name in frames.fields(evidence).values() if name in frame]
    frame = frame.merge(speeds[[*keys, "ratio", "slowest", "fastest", "samples_per_second"]], on=keys)
    frame = frame.dropna(subset=["mean", "ratio"])
    if frame.empty:
        return None
    frame, order, heading, left_away = frames.panels(evidence, frame, evidence.across)
    marks = Marks(evidence)
    ends = pd.concat([frame["ratio"], frame["slowest"], frame["fastest"]]).dropna()
    domain = [float(ends.min()) / 1.08, float(ends.max()) * 1.08]
    scale = alt.Scale(type="log", domain=domain, nice=False)
    base = evidence.level_name(evidence.baseline)
    title = f"training speed, × {base} (log scale)"
    axis = alt.Axis(format="~g", labelOverlap=True, tickCount=6)
    x = alt.X("ratio:Q", title=title, scale=scale, axis=axis)
    y = shown.y("mean:Q", shown.scale(frame["mean"]))
    tell = [
        *frames.tooltip(evidence, frame, shown),
        alt.Tooltip("ratio:Q", title=f"speed, multiple of {base}'s", format=".2f"),
        alt.Tooltip("samples_per_second:Q", title="images/s", format=",.0f"),
    ]
    one = alt.Chart().transform_calculate(one="1").transform_aggregate(one="min(one)")
    plain = alt.Chart().encode(y=y, color=marks.color, opacity=marks.opacity)
    layers = [
        one.mark_rule(strokeDash=[4, 3], color="#999999").encode(x=alt.X("one:Q", title=title, scale=scale, axis=axis)),
        plain.mark_rule(strokeWidth=1.5).encode(
            x=alt.X("slowest:Q", title=title, scale=scale, axis=axis), x2="fastest:Q"
        ),
        plain.mark_point(filled=True, size=80).encode(x=x, shape=marks.shape, tooltip=tell).add_params(marks.toggle),
    ]
    small = bool(order)
    chart = alt.layer(*layers, data=frame, width=WIDTH * (0.62 if small else 1), height=200)
    note = "; ".join(part for part in ("right: faster; lines: 95 % interval of the speed", left_away) if part)
    text = f"{capital(shown.metric.label)} against training speed"
    return Figure(
        "cost",
        titled(evidence, frames.faceted(chart, order, heading), text, note),
        f"{text} as a multiple of {base}'s, a point a cell; the cost table has the numbers.",
        frames.named(
            evidence,
            frame,
            {PANEL: "panel", "ratio": f"speed, multiple of {base}'s", "slowest": "speed 95 % from"}
            | {"fastest": "speed 95 % to", "samples_per_second": "images/s", **frames.CELL_COLUMNS},
        ),
        f"What each {evidence.title(evidence.factor)} gives and what it costs: measured by normbench cost, each cell "
        "alone on the machine and in turns with the baseline.",
    )
