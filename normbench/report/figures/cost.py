"""The metric against training time: what a level costs and what it gives."""

from __future__ import annotations

import altair as alt

from normbench.report.evidence import Evidence
from normbench.report.figures import frames
from normbench.report.figures.style import HEIGHT, WIDTH, Figure, Marks, capital, shown_title, titled
from normbench.study.metrics import get_metric

MAX_LABELS = 24


def figure(evidence: Evidence) -> Figure | None:
    """A point a cell. Runs share a machine, so that times are rough: no interval, no verdict."""
    if not evidence.chosen[evidence.metric.name].notna().any():
        return None
    frame, shown = frames.cell_frame(evidence, evidence.metric)
    seconds, _ = frames.cell_frame(evidence, get_metric("seconds"))
    keys = [name for name in frames.fields(evidence).values() if name in frame]
    frame = frame.merge(seconds[[*keys, "mean"]].rename(columns={"mean": "seconds"}), on=keys)
    frame = frame.dropna(subset=["mean", "seconds"])
    if frame.empty:
        return None
    frame, order, heading, left_away = frames.panels(evidence, frame, frames.deciding_axes(evidence))
    marks = Marks(evidence)
    x = alt.X(
        "seconds:Q",
        title="training time, mean over seeds (s, log scale)",
        scale=alt.Scale(type="log", nice=False, padding=20),
        axis=alt.Axis(format="~g", tickCount=6),
    )
    y = shown.y("mean:Q", shown.scale(frame["mean"]))
    tell = [*frames.tooltip(evidence, frame, shown), alt.Tooltip("seconds:Q", title="training time (s)", format=".1f")]
    base = alt.Chart().encode(x=x, y=y)
    layers = [
        base.mark_point(filled=True, size=80)
        .encode(color=marks.color, shape=marks.shape, opacity=marks.opacity, tooltip=tell)
        .add_params(marks.toggle)
    ]
    notes = ["a point a cell; times are rough, since runs share a machine", left_away]
    if evidence.across and len(frame) <= MAX_LABELS:
        axis = evidence.across[-1]
        field = frames.fields(evidence)[axis]
        layers.append(base.mark_text(dx=9, align="left", fontSize=9, color="#777777").encode(text=f"{field}:N"))
        notes.append(f"beside the points: {shown_title(evidence, axis)}")
    chart = alt.layer(*layers, data=frame).properties(width=WIDTH, height=HEIGHT)
    text = f"{capital(shown.metric.label)} against training time"
    return Figure(
        "cost",
        frames.faceted(chart, order, heading).properties(
            title=titled(evidence, text, "; ".join(note for note in notes if note))
        ),
        f"{text}, a point a cell; the cost table has the numbers.",
        frames.named(evidence, frame, {"seconds": "training time (s)", **frames.CELL_COLUMNS}),
    )
