"""How much every level changes along an axis, beside how much the baseline does: contrasts of kind "change"."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from normbench.report.contrasts import Contrast
from normbench.report.evidence import Evidence
from normbench.report.figures import frames
from normbench.report.figures.style import (
    FACTOR,
    HEIGHT,
    PANEL,
    PANEL_PLACE,
    WIDTH,
    Figure,
    Marks,
    capital,
    shown_title,
    titled,
)
from normbench.report.words import counted_families, verdict_words
from normbench.stats import Along, within_differences

BESIDE = 0.58  # of WIDTH: a panel that has another beside it
DODGE = 0.5  # of the room between two places: how wide the levels are spread there
REACH = 1.0  # of the range of the points: how far an interval is drawn beyond it
COLUMNS = ["x", "at", "change", "low", "high", "base", "told", "verdict"]


def figure(evidence: Evidence) -> Figure | None:
    """A line a level, from the start of the axis; a panel a contrast and cell. None without such a contrast."""
    rows, places = _rows(evidence)
    if rows.empty or rows["low"].isna().all():
        return None
    panels = list(dict.fromkeys(rows[PANEL]))
    left = len(panels) - frames.MAX_FACETS
    rows = rows[rows[PANEL_PLACE] < frames.MAX_FACETS]
    marks, metric = Marks(evidence), evidence.metric
    drawn, cut = [], False
    for place, (_, part) in enumerate(rows.groupby(PANEL_PLACE)):
        near, domain, short = _within_reach(part)
        cut = cut or short
        chart = _panel(evidence, marks, near, places[place], domain, toggle=not place)
        drawn.append(chart.properties(title=alt.TitleParams(panels[place], fontSize=12, offset=4)))
    wide = WIDTH if len(drawn) == 1 else WIDTH * BESIDE
    chart = alt.concat(*(part.properties(width=wide, height=HEIGHT) for part in drawn), columns=2)
    base = evidence.level_name(evidence.baseline)
    sizes = list(dict.fromkeys(evidence.families[contrast.family] for contrast in _asked(evidence)))
    factor = shown_title(evidence, evidence.factor)
    head = f"Change in {metric.label} of each {factor}, beside that of {base}"
    notes = [
        f"95 % intervals of the difference from {base}'s change, {counted_families(sizes)}",
        f"one that does not reach the dashes is told apart from {base} (filled)",
        "each panel has its own axis" if len(drawn) > 1 else "",
        "long intervals are cut" if cut else "",
        f"without {left} further panels" if left > 0 else "",
    ]
    names = {PANEL: "panel", "at": "at", "change": "change", "low": "95 % from", "high": "95 % to"}
    return Figure(
        "interaction",
        titled(evidence, chart, head, "; ".join(note for note in notes if note)),
        f"{head}; the tables of changes have the numbers.",
        frames.named(evidence, rows, names | {"base": f"change of {base}", "verdict": "verdict"}),
        f"How far each {factor} moves along the axis: where lines are parallel, it does to all what it does to {base}, "
        "and an interval that stays clear of the dashes says that they are not.",
    )


def _asked(evidence: Evidence) -> list[Contrast]:
    """The contrasts that are drawn: of the levels that have a colour."""
    return [c for c in evidence.contrasts if c.kind == "change" and c.factor == evidence.factor]


def _rows(evidence: Evidence) -> tuple[pd.DataFrame, list[tuple[str, list[str]]]]:
    """A row a level and place on the axis, in the metric's shown unit; title and labels of each panel's axis."""
    found: list[dict[str, Any]] = []
    axes: list[tuple[str, list[str]]] = []
    scale = evidence.metric.scale
    for contrast, estimates in zip(evidence.contrasts, evidence.estimates, strict=True):
        if contrast not in _asked(evidence):
            continue
        table = estimates[estimates["pairs"] > 0]
        title = shown_title(evidence, contrast.along)
        cells = table[list(contrast.across)].drop_duplicates().to_dict("records") if contrast.across else [{}]
        for cell in cells if len(table) else []:
            rows = table
            for column, value in cell.items():
                rows = rows[rows[column] == value]
            stops = [stop for stop in contrast.stops if (rows["along"].map(contrast.stop) == stop).any()]
            base = _base(evidence, contrast, cell, stops)
            name = ", ".join(f"{shown_title(evidence, str(column))} {value}" for column, value in cell.items())
            panel = {PANEL: f"Along {title}" + (f": {name}" if name else ""), PANEL_PLACE: len(axes)}
            axes.append((title, [str(contrast.start), *map(str, stops)]))
            for level in (contrast.baseline, *dict.fromkeys(rows["treatment"])):
                start = {"x": 0, "at": axes[-1][1][0], "change": 0.0, "told": False, "verdict": ""}
                found.append({**panel, FACTOR: str(level), **start})
            for x, stop in enumerate(stops, 1):
                at = {**panel, "x": x, "at": axes[-1][1][x], "base": base[stop] * scale}
                found.append({**at, FACTOR: str(contrast.baseline), "change": at["base"], "told": False, "verdict": ""})
                for row in rows[rows["along"].map(contrast.stop) == stop].to_dict("records"):
                    moved = {
                        name: (base[stop] + row[key]) * scale
                        for name, key in {"change": "diff", "low": "low", "high": "high"}.items()
                    }
                    told = str(row["verdict"]).startswith(("better", "worse"))
                    words = verdict_words(row, evidence.margin_text)
                    found.append({**at, FACTOR: str(row["treatment"]), **moved, "told": told, "verdict": words})
    return pd.DataFrame(found, columns=[FACTOR, PANEL, PANEL_PLACE, *COLUMNS]), axes


def _base(evidence: Evidence, contrast: Contrast, cell: dict[Any, Any], stops: list[Any]) -> dict[Any, float]:
    """Mean change of the baseline from the start to each stop over all its seeds, in the metric's unit.

    Where a pair lacks a seed (it diverged, or a look decided before), the other level is still drawn at its difference.
    """
    runs = evidence.chosen
    for column, value in cell.items():
        runs = runs[runs[column] == value]
    along = Along(contrast.along, contrast.start, stops)
    found = within_differences(runs, evidence.metric.name, contrast.factor, contrast.baseline, along)
    means: dict[Any, float] = found.groupby("treatment")["diff"].mean().to_dict()
    return means


def _within_reach(rows: pd.DataFrame) -> tuple[pd.DataFrame, list[float], bool]:
    """The rows with their intervals cut so that the points stay apart, the domain, and whether any was cut."""
    least, most = float(rows["change"].min()), float(rows["change"].max())
    room = REACH * ((most - least) or float((rows["high"] - rows["low"]).max()) or 1.0)
    ends = np.array([rows["low"].min(), rows["high"].max(), least, most], dtype=float)
    domain = [max(least - room, float(np.nanmin(ends))), min(most + room, float(np.nanmax(ends)))]
    spare = 0.04 * (domain[1] - domain[0])
    short = bool((rows["low"] < domain[0]).any() or (rows["high"] > domain[1]).any())
    rows = rows.assign(low=rows["low"].clip(lower=domain[0]), high=rows["high"].clip(upper=domain[1]))
    return rows, [domain[0] - spare, domain[1] + spare], short


def _panel(
    evidence: Evidence, marks: Marks, rows: pd.DataFrame, axis: tuple[str, list[str]], domain: list[float], toggle: bool
) -> Any:
    metric, (title, labels) = evidence.metric, axis
    order = [name for name in marks.names if name in set(rows[FACTOR])]
    side = rows[FACTOR].map(order.index) - (len(order) - 1) / 2
    step = DODGE / max(1, len(order))
    rows = rows.assign(
        place=rows["x"] + side * step, left=rows["x"] - DODGE / 2 - 0.1, right=rows["x"] + DODGE / 2 + 0.1
    )
    unit = f" ({metric.difference_unit})" if metric.difference_unit else ""
    names = alt.Axis(values=list(range(len(labels))), labelExpr=frames.texts_of_places(labels), grid=False)
    x_scale = alt.Scale(domain=[-0.5, len(labels) - 0.5], nice=False)
    y_scale, y_title = alt.Scale(domain=domain, nice=False), f"change in {metric.label}{unit}"
    x = alt.X("place:Q", title=title, scale=x_scale, axis=names)

    def y(field: str) -> alt.Y:
        return alt.Y(f"{field}:Q", title=y_title, scale=y_scale)

    number = f"+.{metric.digits}f"
    tell = [alt.Tooltip(f"{FACTOR}:N", title=shown_title(evidence, evidence.factor)), alt.Tooltip("at:N", title=title)]
    tell += [alt.Tooltip("change:Q", title=capital(f"change{unit}"), format=number)]
    tell += [alt.Tooltip("base:Q", title=f"of {evidence.level_name(evidence.baseline)}", format=number)]
    tell += [
        alt.Tooltip("low:Q", title="95 % from", format=number),
        alt.Tooltip("high:Q", title="95 % to", format=number),
    ]
    tell += [alt.Tooltip("verdict:N")]
    base = alt.Chart().encode(x=x, color=marks.color, opacity=marks.opacity)
    fill = alt.when(alt.datum.told).then(marks.color).otherwise(alt.value("white"))
    points = base.mark_point(size=60).encode(y=y("change"), shape=marks.shape, fill=fill, tooltip=tell)
    own = alt.datum[FACTOR] == str(evidence.baseline)
    dashes = alt.Chart().transform_filter(own & (alt.datum.x > 0)).mark_rule(strokeDash=[4, 3], strokeWidth=1.2)
    layers = [
        alt.Chart().mark_rule(color="#888888", strokeWidth=0.7).encode(y=alt.YDatum(0, scale=y_scale, title=y_title)),
        dashes.encode(
            x=alt.X("left:Q", scale=x_scale, title=title, axis=names), x2="right:Q", y=y("base"), color=marks.color
        ),
        base.mark_line(strokeWidth=1.5).encode(y=y("change")),
        base.mark_rule(strokeWidth=1.5).encode(y=y("low"), y2="high:Q"),
        points.add_params(marks.toggle) if toggle else points,
    ]
    return alt.layer(*layers, data=rows)
