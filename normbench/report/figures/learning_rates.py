"""Learning rates, or another tuned axis, on the validation images: the surface that one may choose from."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from normbench.report.evidence import SELECT, Evidence
from normbench.report.figures import frames
from normbench.report.figures.style import (
    FACTOR,
    HEIGHT,
    PANEL,
    RATE,
    WIDTH,
    Figure,
    Marks,
    capital,
    shown_title,
    titled,
)
from normbench.stats import summarize
from normbench.study.metrics import get_metric

CELL_WIDTH, CELL_HEIGHT = 78, 26


def _surface(evidence: Evidence) -> tuple[pd.DataFrame, str, list[str]] | None:
    """Means of validation accuracy (%) of each level, rate and other axes; the rate's column; the other axes."""
    rate = evidence.tuned or (RATE if RATE in evidence.across else None)
    if rate is None or evidence.runs.empty:
        return None
    metric, others = get_metric(SELECT), [axis for axis in evidence.across if axis != rate]
    cells = summarize(evidence.runs, [*others, evidence.factor, rate], metric.name)
    if cells["mean"].isna().all():
        return None
    cells = cells.assign(value=cells["mean"] * metric.scale)
    kept = [*others, evidence.factor, rate, "value", "n", "n_used", "diverged"]
    return cells[kept], rate, others


def _titles(evidence: Evidence, rate: str) -> str:
    """The rate's title; one that follows the batch size is given at the reference batch."""
    scaled = rate == RATE and evidence.configuration.get("optimizer.lr_scaling") != "none"
    return shown_title(evidence, rate) + (" at the reference batch" if scaled else "")


def heat_map(evidence: Evidence) -> Figure | None:
    """Validation accuracy of each level at each rate, a panel for each combination of the other axes."""
    found = _surface(evidence)
    if found is None:
        return None
    cells, rate, others = found
    metric, of = get_metric(SELECT), frames.fields(evidence)
    cells = frames.drawn(evidence, cells)
    cells["text"] = [_text(row, metric.digits - 1) for row in cells.to_dict("records")]
    cells, order, heading, left_away = frames.panels(evidence, cells, others)
    middle = (cells["value"].min() + cells["value"].max()) / 2
    axis = alt.Axis(labelAngle=0, format="~g", grid=False) if frames.is_quantity(evidence.runs[rate]) else alt.Axis()
    base = alt.Chart().encode(
        x=alt.X(f"{of[rate]}:O", title=_titles(evidence, rate), axis=axis),
        y=alt.Y(
            f"{FACTOR}:N",
            sort=[str(level) for level in evidence.levels],
            title=shown_title(evidence, evidence.factor),
            axis=alt.Axis(grid=False),
        ),
    )
    color = alt.Color("value:Q", title=["validation", "accuracy (%)"], scale=alt.Scale(scheme="viridis"))
    shade = alt.when(alt.datum.value > middle).then(alt.value("black")).otherwise(alt.value("white"))
    rectangle = alt.when(alt.datum.n_used == 0).then(alt.value("#eeeeee")).otherwise(color)
    tell = [alt.Tooltip(f"{FACTOR}:N"), alt.Tooltip("value:Q", title=metric.title, format=".2f")]
    tell += [alt.Tooltip("n:Q", title="runs"), alt.Tooltip("diverged:Q", title="diverged")]
    layers = [
        base.mark_rect().encode(color=rectangle, tooltip=tell),
        base.transform_filter(alt.datum.n_used > 0).mark_text(fontSize=10).encode(text="text:N", color=shade),
        base.transform_filter(alt.datum.n_used == 0).mark_text(fontSize=10, color="#8A4B00").encode(text="text:N"),
    ]
    chart = alt.layer(*layers, data=cells, width={"step": CELL_WIDTH}, height={"step": CELL_HEIGHT})
    note = "; ".join(
        part for part in ("mean over seeds; a diverged run has no accuracy: k/n diverged", left_away) if part
    )
    title = f"Validation accuracy by {shown_title(evidence, evidence.factor)} and {_titles(evidence, rate)}"
    return Figure(
        "learning_rates" if rate == RATE else f"tuned_{shown_title(evidence, rate)}",
        titled(evidence, frames.faceted(chart, order, heading), title, note),
        f"{title}; the table of chosen values has those that were best.",
        frames.named(evidence, cells, {PANEL: "panel", "value": metric.title, "n": "runs", "diverged": "diverged"}),
        f"Mean accuracy on the validation images, from which {_titles(evidence, rate)} may be chosen; no test image "
        "takes part.",
    )


def _text(row: dict[Any, Any], digits: int) -> str:
    shown = f"{row['value']:.{digits}f}" if pd.notna(row["value"]) else ""
    return ", ".join(part for part in (shown, f"{row['diverged']}/{row['n']} div." if row["diverged"] else "") if part)


def sensitivity(evidence: Evidence) -> Figure | None:
    """Validation error of each level against the rate: how wide the valley is."""
    found = _surface(evidence)
    if found is None or not frames.is_quantity(evidence.runs[found[1]]):
        return None
    cells, rate, others = found
    if cells[rate].nunique() < 2:
        return None
    shown = frames.shown_metric(get_metric(SELECT), cells["value"] / 100)
    gone = sorted(set(cells[rate]) - set(cells.dropna(subset=["value"])[rate]))
    cells = frames.drawn(evidence, cells.assign(value=100 - cells["value"])).dropna(subset=["value"])
    cells, order, heading, left_away = frames.panels(evidence, cells, others)
    marks, field = Marks(evidence), frames.fields(evidence)[rate]
    scale = shown.scale(cells["value"])
    cells["kept"] = np.where(cells["diverged"] > 0, "some diverged", "none diverged")
    x = alt.X(
        f"{field}:Q",
        title=f"{_titles(evidence, rate)}, log scale",
        scale=alt.Scale(type="log", nice=False, padding=14),
        axis=alt.Axis(values=sorted(map(float, cells[field].unique())), format="~g"),
    )
    base = alt.Chart().encode(x=x, y=shown.y("value:Q", scale), color=marks.color)
    tell = [
        alt.Tooltip(f"{FACTOR}:N"),
        alt.Tooltip("value:Q", title=shown.metric.title, format=".2f"),
        alt.Tooltip("diverged:Q"),
    ]
    fill = alt.when(alt.datum.diverged == 0).then(marks.color).otherwise(alt.value("white"))
    layers = [
        base.mark_line(strokeWidth=1.5).encode(opacity=marks.opacity).add_params(marks.toggle),
        base.mark_point(size=60).encode(shape=marks.shape, opacity=marks.opacity, fill=fill, tooltip=tell),
    ]
    chart = alt.layer(*layers, data=cells, width=WIDTH, height=HEIGHT)
    notes = ["mean over seeds", "open: some runs diverged" if (cells["diverged"] > 0).any() else "", left_away]
    notes += [f"at {', '.join(f'{value:g}' for value in gone)} all runs diverged"] if gone else []
    title = f"{capital(shown.metric.label)} against {_titles(evidence, rate)}"
    return Figure(
        "learning_rate_sensitivity" if rate == RATE else f"sensitivity_to_{shown_title(evidence, rate)}",
        titled(evidence, frames.faceted(chart, order, heading), title, "; ".join(part for part in notes if part)),
        f"{title}, one curve for each {evidence.title(evidence.factor)}.",
        frames.named(evidence, cells, {PANEL: "panel", "value": shown.metric.title, "diverged": "diverged"}),
        f"How much each {evidence.title(evidence.factor)} depends on {_titles(evidence, rate)}, on the validation "
        "images: a wide valley forgives a poor choice.",
    )
