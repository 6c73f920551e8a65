"""What was logged while training: the loss, and the error on the validation images."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np
import pandas as pd
from scipy import special

from normbench.report.evidence import VALIDATION, Evidence
from normbench.report.figures import frames
from normbench.report.figures.style import (
    FACTOR,
    HEIGHT,
    HOVER,
    PANEL,
    PANEL_PLACE,
    WIDTH,
    Figure,
    Marks,
    capital,
    titled,
)
from normbench.study.metrics import counted

AXES = {"samples": "training images seen", "step": "optimizer steps", "seconds": "training time (s)"}
SEEDS_FOR_BANDS = 5  # an interval of two or three seeds at every point would hide the curves
HIGHEST = 5.0  # times the first values: what rises above is cut, so that no run stretches the axis
FLOOR = 1e-6


def training_loss(evidence: Evidence) -> Figure | None:
    """Training loss; the page offers each of AXES, the files show it over the images seen."""
    points = evidence.curves
    points = points[(points["split"] == "train") & (points["metric"] == "loss")]
    return _figure(evidence, points, "training loss", "nats", "training_loss")


def validation_error(evidence: Evidence) -> Figure | None:
    """Error on the validation images (%)."""
    points = evidence.curves
    points = points[points["split"].isin(VALIDATION) & (points["metric"] == "accuracy")]
    # A run that a callback stops may have two points at its end: of the part of the images, and then of all.
    points = points.drop_duplicates([*evidence.keys, "run_id", "step"], keep="last")
    points = points.assign(value=100 * (1 - points["value"].astype(float)))
    return _figure(evidence, points, "validation error", "%", "validation_error")


def _figure(evidence: Evidence, points: pd.DataFrame, label: str, unit: str, name: str) -> Figure | None:
    diverged = int(evidence.chosen["diverged_at_step"].notna().sum())
    # A run that diverged has no curve to average: what is left would be the mean of fewer and fewer survivors.
    points = points[points["diverged_at_step"].isna() & np.isfinite(points["value"].astype(float))]
    if points.empty or points["step"].groupby(points["run_id"], observed=True).nunique().max() < 2:
        return None
    # Without the names of runs, splits and metrics: as text, those of a million points take longer than the averages.
    points = frames.drawn(evidence, points[[*evidence.keys, *AXES, "value"]])
    points, order, heading, left_away = frames.panels(evidence, points, evidence.across)
    keys = [FACTOR, *([PANEL, PANEL_PLACE] if order else [])]
    frame, band_name = _averaged(points, keys)
    domain = _domain(frame, keys)
    scale, axis = alt.Scale(type="log", domain=domain, clamp=True, nice=False), frames.log_axis(*domain)
    marks = Marks(evidence)
    title = f"{label} ({unit}, log scale)"
    images = alt.Axis(labelExpr="format(datum.value, '~s')", tickCount=5)  # 0 and 1k, not 0k
    base = alt.Chart().encode(
        x=alt.X("samples:Q", title=AXES["samples"], axis=images),
        color=marks.color,
    )
    tell = [alt.Tooltip(f"{FACTOR}:N", title=evidence.title(evidence.factor))]
    tell += [alt.Tooltip(f"{PANEL}:N", title=heading)] if order else []
    tell += [alt.Tooltip(f"{field}:Q", title=text, format=",.0f") for field, text in AXES.items()]
    tell += [alt.Tooltip("mean:Q", title=label, format=".4f"), alt.Tooltip("n:Q", title="runs")]
    band = base.mark_area().encode(
        y=alt.Y("low:Q", scale=scale, title=title, axis=axis),
        y2="high:Q",
        fillOpacity=marks.shade(0.18, alt.FillOpacityValue),
    )
    y = alt.Y("mean:Q", scale=scale, title=title, axis=axis)
    line = base.mark_line(strokeWidth=1.6).encode(y=y, opacity=marks.opacity)
    hover = base.mark_point(opacity=0, size=80).encode(y=y, tooltip=tell).properties(name=HOVER)
    notes = [f"geometric mean and {band_name} over seeds", left_away]
    if diverged:
        notes.append(f"without {counted([diverged], 'run')} that diverged")
    small = bool(order)
    size = {"width": WIDTH * (0.62 if small else 1), "height": HEIGHT * (0.75 if small else 1)}
    chart = alt.layer(band, line.add_params(marks.toggle), hover, data=frame, **size)
    chart = frames.faceted(chart, order, heading)
    text = f"{capital(label)} over {AXES['samples']}"
    chart = titled(evidence, chart, text, "; ".join(note for note in notes if note))
    # What the page may put on the x axis instead: field, title of the axis, title of the figure.
    choices = [
        {"field": field, "title": shown, "head": f"{capital(label)} over {shown}"} for field, shown in AXES.items()
    ]
    chart.usermeta = {"axes": choices}
    return Figure(
        name,
        chart,
        f"{capital(label)} over {AXES['samples']}, one curve for each {evidence.title(evidence.factor)}.",
        frames.named(
            evidence, frame, {PANEL: "panel", **AXES, "mean": label, "low": "from", "high": "to", "n": "runs"}
        ),
        f"The {label} on the way: the mean of the runs that did not diverge, with its {band_name} over seeds.",
    )


def _averaged(points: pd.DataFrame, keys: list[str]) -> tuple[pd.DataFrame, str]:
    """Geometric means over seeds at each step (they are drawn on a log scale), with a band and its name."""
    points = points.assign(y=np.log(points["value"].astype(float).clip(lower=FLOOR)))
    grouped = points.groupby([*keys, "step"], observed=True, sort=True)
    frame = grouped.agg(
        mean=("y", "mean"),
        sd=("y", "std"),
        low=("y", "min"),
        high=("y", "max"),
        n=("y", "size"),
        seconds=("seconds", "mean"),
        samples=("samples", "mean"),
    ).reset_index()
    band = "range"
    if frame["n"].max() >= SEEDS_FOR_BANDS:
        half = special.stdtrit(np.maximum(frame["n"] - 1, 1), 0.975) * frame["sd"] / np.sqrt(frame["n"])
        frame = frame.assign(low=frame["mean"] - half, high=frame["mean"] + half)
        band = "95 % band"
    values: dict[str, Any] = {name: np.exp(frame[name].clip(upper=700)) for name in ("low", "high", "mean")}
    return frame.assign(**values).drop(columns="sd"), band


def _domain(frame: pd.DataFrame, keys: list[str]) -> list[float]:
    """What the axis shows: all means, but nothing far above where the curves begin."""
    first = frame.groupby(keys, observed=True)["mean"].first()
    low, high = float(frame["mean"].min()), min(float(frame["mean"].max()), HIGHEST * float(first.median()))
    return [low * 0.8, max(high, low * 1.1) * 1.2]
