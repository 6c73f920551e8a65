"""How many runs of each cell diverged: an endpoint of its own, drawn only where something diverged."""

from __future__ import annotations

from typing import Any

import altair as alt

from normbench.report.evidence import Evidence
from normbench.report.figures import frames
from normbench.report.figures.style import FACTOR, PANEL, Figure, shown_title, titled

CELL_WIDTH, CELL_HEIGHT = 62, 24
NONE, ALL = "#f6f1ec", "#a33600"  # colours of no run and of all runs


def figure(evidence: Evidence) -> Figure | None:
    """k of n in every cell: levels down, the swept axis (with a tuned axis: its values) to the right."""
    runs, of = evidence.runs, frames.fields(evidence)
    if runs.empty or not runs["diverged_at_step"].notna().any():
        return None
    keys = [*evidence.keys, *([evidence.tuned] if evidence.tuned else [])]
    swept = evidence.tuned or (evidence.across[-1] if evidence.across else None)
    counts = runs.assign(diverged=runs["diverged_at_step"].notna()).groupby(keys, observed=True)["diverged"]
    cells = frames.drawn(evidence, counts.agg(["sum", "size", "mean"]).reset_index())
    cells = cells.rename(columns={"sum": "diverged", "size": "n", "mean": "share"})
    cells["text"] = [f"{k} of {n}" for k, n in zip(cells["diverged"], cells["n"], strict=True)]
    others = [axis for axis in evidence.across if axis != swept]
    cells, order, heading, left_away = frames.panels(evidence, cells, others)
    y = alt.Y(
        f"{FACTOR}:N",
        sort=[str(level) for level in evidence.levels],
        title=shown_title(evidence, evidence.factor),
        axis=alt.Axis(grid=False),
    )
    encoding: dict[str, Any] = {"y": y}
    if swept is not None:
        axis = alt.Axis(labelAngle=0, grid=False, labelLimit=CELL_WIDTH + 10)
        order_x = sorted(cells[of[swept]].unique()) if frames.is_quantity(runs[swept]) else None
        encoding["x"] = alt.X(f"{of[swept]}:O", title=shown_title(evidence, swept), axis=axis, sort=order_x)
    base = alt.Chart().encode(**encoding)
    scale, legend = alt.Scale(domain=[0, 1], range=[NONE, ALL]), alt.Legend(format="%")
    color = alt.Color("share:Q", title="diverged", scale=scale, legend=legend)
    text = alt.when(alt.datum.share > 0.5).then(alt.value("white")).otherwise(alt.value("#333333"))
    layers = [
        base.mark_rect(stroke="white").encode(color=color, tooltip=[alt.Tooltip("text:N", title="diverged")]),
        base.mark_text(fontSize=11).encode(text="text:N", color=text),
    ]
    width = CELL_WIDTH if swept is None else {"step": CELL_WIDTH}  # a step needs an axis
    chart = alt.layer(*layers, data=cells, width=width, height={"step": CELL_HEIGHT})
    note = "; ".join(part for part in ("of all runs, tuned or not" if evidence.tuned else "", left_away) if part)
    return Figure(
        "divergence",
        titled(evidence, frames.faceted(chart, order, heading), "Runs that diverged", note),
        "How many runs of each cell diverged.",
        frames.named(evidence, cells, {PANEL: "panel", "diverged": "diverged", "n": "runs"}),
        "How many runs of each cell diverged; they have no accuracy and are in no mean.",
    )
