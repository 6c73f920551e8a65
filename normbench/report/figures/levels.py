"""The metric of every level against the swept axis, or the levels side by side where there is no other axis."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from normbench.report.evidence import Evidence
from normbench.report.figures import frames
from normbench.report.figures.style import FACTOR, HEIGHT, WIDTH, Figure, Marks, capital, shown_title, titled
from normbench.study.metrics import counted

ROOM = 58  # characters of all labels of an axis beyond which they are turned


def figure(evidence: Evidence) -> Figure | None:
    """Means with intervals and every seed; a panel for each combination of the axes that are not on x."""
    metric = evidence.metric
    if not evidence.chosen[metric.name].notna().any():
        return None
    cells, shown = frames.cell_frame(evidence, metric)
    empty = int(cells["mean"].isna().sum())
    cells = cells.dropna(subset=["mean"])  # a panel of its own would be empty
    seeds = frames.seed_frame(evidence, metric, shown)
    scale = shown.scale(cells["mean"], seeds["value"], low=cells["low"])
    cells = frames.clipped(cells, scale)
    if evidence.across:
        axis = evidence.across[-1]
        field, label = frames.fields(evidence)[axis], shown_title(evidence, axis)
    else:
        axis, field, label = None, FACTOR, shown_title(evidence, evidence.factor)
    copies = frames.copies(evidence, seeds)
    keys = [FACTOR, *(frames.fields(evidence)[axis] for axis in evidence.across)]
    copied = [tuple(row) in copies for row in cells[keys].to_numpy(dtype=object)]
    seeds = seeds[[tuple(row) not in copies for row in seeds[keys].to_numpy(dtype=object)]]
    cells = cells.assign(kind=np.where(copied, "copy", "cell"))
    whole = pd.concat([cells, seeds.assign(kind="seed")], ignore_index=True)
    whole, order, heading, left_away = frames.panels(evidence, whole, evidence.across[:-1])
    quantity = axis is not None and frames.is_quantity(evidence.chosen[axis])
    if quantity:
        whole = _dodged(evidence, whole, field)
        x = quantity_axis(whole, field, label, axis)
    else:
        x = _names(evidence, whole, field, label)
    offset = {} if quantity or axis is None else {"xOffset": alt.XOffset(f"{FACTOR}:N", sort=Marks(evidence).names)}
    layers = _layers(evidence, cells, shown, scale, {"x": x, **offset}, quantity)
    title = f"{capital(shown.metric.label)} " + (f"against {label}, by " if axis else "by ")
    without = f"without {counted([empty], 'cell')} whose runs all diverged" if empty else ""
    same = sorted({f"{level} as {original}" for (level, *_), original in copies.items()})
    once = f"identical runs are drawn once: {', '.join(same)} in {counted([len(copies)], 'cell')}" if same else ""
    note = "; ".join(part for part in ("mean and 95 % interval; faint: every run", once, without, left_away) if part)
    chart = alt.layer(*layers, data=whole, width=WIDTH, height=HEIGHT)
    chart = frames.faceted(chart, order, heading)
    name = f"{shown.metric.label.replace(' ', '_')}" + (f"_against_{label.replace(' ', '_')}" if axis else "")
    return Figure(
        name,
        titled(evidence, chart, title + shown_title(evidence, evidence.factor), note),
        f"{capital(shown.metric.title)} of every {evidence.title(evidence.factor)}"
        + (f" against {label}" if axis else "")
        + "; the table of means has the numbers.",
        frames.named(evidence, whole, {"kind": "kind", "seed": "seed", "value": "value"} | frames.CELL_COLUMNS),
        f"The {shown.metric.label} of each cell with the 95 % interval of its mean; overlapping intervals decide "
        "nothing, since runs are paired by seed: see the differences.",
    )


def _dodged(evidence: Evidence, frame: pd.DataFrame, field: str) -> pd.DataFrame:
    """With `x`, where markers of levels stand side by side."""
    rank = frame[FACTOR].map({str(level): i for i, level in enumerate(evidence.levels)})
    middle = (len(evidence.levels) - 1) / 2
    return frame.assign(x=frame[field].astype(float) * 2.0 ** ((rank - middle) * frames.DODGE))


def quantity_axis(frame: pd.DataFrame, field: str, label: str, axis: str | None) -> alt.X:
    """The logarithmic axis of the field `x`, with a tick at each value of another field."""
    values = sorted(float(value) for value in frame[field].unique())
    unit = " (images)" if axis == "batch_size" else ""
    return alt.X(
        "x:Q",
        title=f"{label}{unit}, log scale",
        scale=alt.Scale(type="log", base=2, nice=False, padding=14),
        axis=alt.Axis(values=values, format="~g", labelOverlap=True),
    )


def _names(evidence: Evidence, frame: pd.DataFrame, field: str, label: str) -> alt.X:
    order = [str(level) for level in evidence.levels] if field == FACTOR else list(dict.fromkeys(frame[field]))
    turned = sum(min(len(str(name)), 30) + 2 for name in order) > ROOM
    axis = alt.Axis(labelAngle=-35 if turned else 0, labelLimit=140)
    return alt.X(f"{field}:N", title=label, sort=order, axis=axis)


def _run_tooltip(evidence: Evidence, shown: frames.Shown) -> list[alt.Tooltip]:
    tell = [alt.Tooltip(f"{field}:N", title=evidence.title(key)) for key, field in frames.fields(evidence).items()]
    tell = tell[: len(evidence.keys)]
    value = alt.Tooltip("value:Q", title=shown.metric.title, format=f",.{shown.metric.digits}f")
    return [*tell, alt.Tooltip("seed:N"), value]


def _layers(
    evidence: Evidence,
    cells: pd.DataFrame,
    shown: frames.Shown,
    scale: alt.Scale,
    place: dict[str, Any],
    line: bool,
) -> list[Any]:
    marks = Marks(evidence)
    cell, seed = alt.datum.kind == "cell", alt.datum.kind == "seed"
    base = alt.Chart().encode(**place, color=marks.color)
    y, run = shown.y("mean:Q", scale), shown.y("value:Q", scale)
    layers = [
        base.transform_filter(seed)
        .mark_point(filled=True, size=16, xOffset=6)
        .encode(y=run, opacity=marks.shade(0.5), tooltip=_run_tooltip(evidence, shown)),
    ]
    if line:
        layers.append(
            base.transform_filter(alt.datum.kind != "seed")
            .mark_line(strokeWidth=1.5)
            .encode(y=y, opacity=marks.opacity)
        )
    if cells["low"].notna().any():
        ends: dict[str, Any] = {"y": shown.y("low:Q", scale), "y2": "high:Q"}
        layers.append(base.transform_filter(cell).mark_rule(strokeWidth=1.5).encode(**ends, opacity=marks.opacity))
    point = base.transform_filter(cell).mark_point(filled=True, size=70)
    told = frames.tooltip(evidence, cells, shown)
    layers.append(point.encode(y=y, shape=marks.shape, opacity=marks.opacity, tooltip=told))
    layers[0] = layers[0].add_params(marks.toggle)
    return layers
