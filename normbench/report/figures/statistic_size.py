"""The metric against how much shares one mean and variance: values, which explains it, and images."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd

from normbench.report.evidence import Evidence
from normbench.report.figures import frames
from normbench.report.figures.style import FACTOR, HEIGHT, PANEL, WIDTH, Figure, Marks, capital, titled

FEWEST = 3  # distinct sizes below which there is nothing to see


def values_figure(evidence: Evidence) -> Figure | None:
    """Against values per statistic, the smallest over the sites of the network."""
    title = "smallest values per statistic"
    return _figure(evidence, "values_per_statistic", title, base=10)


def images_figure(evidence: Evidence) -> Figure | None:
    """Against images per statistic."""
    return _figure(evidence, "images_per_statistic", "images per statistic", base=2)


def _figure(evidence: Evidence, size: str, label: str, base: int) -> Figure | None:
    metric, runs = evidence.metric, evidence.chosen
    if size not in runs or runs[size].nunique() < FEWEST or not runs[metric.name].notna().any():
        return None
    cells, shown = frames.cell_frame(evidence, metric)
    cells = cells.dropna(subset=["mean"])
    unsized = cells[size].isna()  # of earlier batches too, or of layers that are not known
    levels = ", ".join(dict.fromkeys(cells.loc[unsized, FACTOR].astype(str)))
    cells = cells[~unsized]
    scale = shown.scale(cells["mean"], low=cells["low"])
    cells = frames.clipped(cells, scale)
    whole, order, heading, left_away = frames.panels(evidence, cells, _apart(evidence, size))
    cells = whole.drop_duplicates([FACTOR, size, *([PANEL] if order else []), "mean", "low", "high", "n"])
    again = "cells with the very same numbers are drawn once" if len(cells) < len(whole) else ""
    whole = _placed(evidence, cells, size, base, [PANEL] if order else [])
    marks = Marks(evidence)
    values = sorted(float(value) for value in whole["place"].unique())
    least = min(values)
    no_statistic = bool((whole["none"]).any())
    x = alt.X(
        "x:Q",
        title=f"{label} (log scale{'; none: no statistic' if no_statistic else ''})",
        scale=alt.Scale(type="log", base=base, nice=False, padding=14),
        axis=alt.Axis(
            values=values,
            labelOverlap=True,
            labelExpr=f"datum.value <= {least} ? 'none' : format(datum.value, ',')" if no_statistic else "",
        )
        if no_statistic
        else alt.Axis(values=values, labelOverlap=True, format=","),
    )
    y = shown.y("mean:Q", scale)
    layers: list[Any] = [
        alt.Chart()
        .mark_line(strokeWidth=1.5)
        .encode(
            x=alt.X("place:Q"),
            y=shown.y("curve:Q", scale),
            color=marks.color,
            opacity=marks.opacity,
        )
    ]
    plain = alt.Chart().encode(x=x, color=marks.color, opacity=marks.opacity)
    if whole["low"].notna().any():
        layers.append(plain.mark_rule(strokeWidth=1.5).encode(y=shown.y("low:Q", scale), y2="high:Q"))
    told = frames.tooltip(evidence, cells, shown)
    layers.append(plain.mark_point(filled=True, size=70).encode(y=y, shape=marks.shape, tooltip=told))
    layers[0] = layers[0].add_params(marks.toggle)
    chart = alt.layer(*layers, data=whole, width=WIDTH, height=HEIGHT)
    name = size.replace("_", " ")
    text = f"{capital(shown.metric.label)} against {name}"
    unplaced = levels and f"not drawn, without a number: {levels}"
    parts = ("a point a cell: mean and 95 % interval", left_away, unplaced, again)
    note = "; ".join(part for part in parts if part)
    return Figure(
        f"{shown.metric.label.replace(' ', '_')}_against_{size}",
        titled(evidence, frames.faceted(chart, order, heading), text, note),
        f"{text}, one curve for each {evidence.title(evidence.factor)}; the table of means has the numbers.",
        frames.named(evidence, whole, frames.CELL_COLUMNS),
        f"The {shown.metric.label} against how many {label.removeprefix('smallest ').split()[0]} share one mean and "
        "variance, which the batch size changes for some norms and not for others.",
    )


def _apart(evidence: Evidence, size: str) -> list[str]:
    """The axes that get panels: those that decide data or network, and those that leave the size as it is."""
    deciding = frames.deciding_axes(evidence)
    found = []
    for axis in evidence.across:
        rest = [key for key in evidence.keys if key != axis]
        varies = evidence.chosen.groupby(rest, observed=True)[size].nunique().max() > 1
        if axis in deciding or not varies:
            found.append(axis)
    return found


def _placed(evidence: Evidence, frame: pd.DataFrame, size: str, base: int, panel: list[str]) -> pd.DataFrame:
    """With `place` (the size; left of all where there is no statistic), `x` beside it, and the `curve` of a level."""
    sizes = frame[size].astype(float)
    none = sizes <= 0
    frame = frame.assign(none=none, place=sizes.mask(none, sizes[~none].min() / (2 if base == 2 else 4)))
    rank = frame[FACTOR].map({str(level): i for i, level in enumerate(evidence.levels)})
    frame = frame.assign(rank=rank).sort_values("rank", kind="stable")
    # Cells at one place, such as all of a layer norm, stand side by side.
    together = ["place", *panel]
    count = frame.groupby(together)["rank"].transform("size")
    side = frame.groupby(together)["rank"].cumcount() - (count - 1) / 2
    spread = frame["place"].max() / frame["place"].min()
    step = frames.DODGE * (1 if base == 2 else max(1.0, spread) ** 0.05)
    frame["x"] = frame["place"] * 2.0 ** (side * min(step, frames.SPREAD / max(1, count.max())))
    # One curve a level, through the means of its cells at a place.
    frame["curve"] = frame.groupby([FACTOR, *together])["mean"].transform("mean")
    return frame
