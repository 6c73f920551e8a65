"""What all figures share: colours and markers, sizes, titles, and the encodings of the compared levels."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import altair as alt
import pandas as pd

from normbench.report.evidence import Evidence
from normbench.study.metrics import counted

# Okabe & Ito's palette, told apart by colour-blind readers; a norm has one colour and one marker in every figure.
NORM_STYLE = {
    "none": ("#505050", "circle"),
    "batch": ("#0072B2", "square"),
    "layer": ("#E69F00", "triangle-up"),
    "instance": ("#CC79A7", "diamond"),
    "group": ("#009E73", "cross"),
    "ghost": ("#D55E00", "triangle-right"),
    "sync_batch": ("#56B4E9", "triangle-down"),
}
OTHER_STYLES = (
    ("#8B6508", "circle"),
    ("#5D3A9B", "square"),
    ("#1B6E5A", "diamond"),
    ("#A0303C", "triangle-up"),
    ("#4B6FA5", "cross"),
)
WIDTH, HEIGHT = 420, 260
RATE, RATE_TITLE = "base_lr", "learning rate"
FACTOR, PANEL, PANEL_PLACE = "factor", "panel", "place_of_panel"  # fields of the frames that are drawn
TITLE_LIMIT, LABEL_LIMIT = 560, 170
LINE = 94  # characters of a subtitle's line, which TITLE_LIMIT has room for


@dataclass(frozen=True)
class Figure:
    """A figure as its file makes it.

    Args:
        name: File name, before it is made safe.
        chart: The chart.
        alt: What it shows, for who cannot see it.
        data: What it shows, under the names that a reader knows.
        caption: A sentence that says what to see in it.
    """

    name: str
    chart: Any
    alt: str
    data: pd.DataFrame
    caption: str


def styles(levels: Sequence[Any]) -> tuple[list[str], list[str]]:
    """Colour and marker of each level: a norm's own everywhere, the remaining ones in order for others."""
    names = [str(level) for level in levels]
    rest = list(OTHER_STYLES)
    rest += [style for norm, style in NORM_STYLE.items() if norm not in names]
    chosen = []
    for place, name in enumerate(names):
        style = NORM_STYLE.get(name) or (rest.pop(0) if rest else _further(place))
        chosen.append(style)
    return [color for color, _ in chosen], [shape for _, shape in chosen]


def _further(place: int) -> tuple[str, str]:
    """More levels than there are styles: grey values with the markers in turn."""
    grey = 60 + place * 37 % 150
    return f"#{grey:02x}{(grey + place * 53) % 200:02x}{(grey + place * 91) % 220:02x}", OTHER_STYLES[place % 5][1]


class Marks:
    """Colour, marker and legend of the compared levels, shared by all layers of a chart."""

    # A click on a name of the legend shows that level alone; shift adds further ones.
    toggle = alt.selection_point(fields=[FACTOR], bind="legend", name="shown")

    def __init__(self, evidence: Evidence, levels: Sequence[Any] | None = None) -> None:
        chosen = list(evidence.levels if levels is None else levels)
        self.names = [str(level) for level in chosen]
        colors, shapes = styles(evidence.levels)
        of = {str(level): (color, shape) for level, color, shape in zip(evidence.levels, colors, shapes, strict=True)}
        colors, shapes = ([of[name][i] for name in self.names] for i in (0, 1))
        legend = alt.Legend(title=shown_title(evidence, evidence.factor), symbolOpacity=1)
        names = self.names
        self.color = alt.Color(f"{FACTOR}:N", scale=alt.Scale(domain=names, range=colors), legend=legend, sort=names)
        self.shape = alt.Shape(f"{FACTOR}:N", scale=alt.Scale(domain=names, range=shapes), legend=legend, sort=names)
        self.opacity = self.shade(1.0)

    def shade(self, opacity: float, channel: Any = alt.OpacityValue) -> Any:
        """So opaque, and almost gone where the legend chose other levels."""
        return _shade(opacity, channel)


@cache  # Altair takes long to make a channel of a condition
def _shade(opacity: float, channel: Any) -> Any:
    other = alt.value(min(0.06, opacity / 6))
    return channel.from_dict(alt.when(Marks.toggle).then(alt.value(opacity)).otherwise(other), validate=False)


def shown_title(evidence: Evidence, column: str) -> str:
    """The title of a column in a chart: short names of keys without underscores, names of users as written."""
    axis = next((axis for axis, found in evidence.columns.items() if found == column), column)
    title = evidence.title(column)
    if title == axis:
        return title
    return RATE_TITLE if title == RATE else title.replace("_", " ")


def capital(text: str) -> str:
    """The text with its first letter as a capital."""
    return text[:1].upper() + text[1:]


def titled(evidence: Evidence, chart: Any, text: str, note: str = "") -> Any:
    """The chart with a title that says what is seen, and below where from, in lines that are not too long.

    The title is set on the chart itself, which nobody else has: each `properties` of Altair copies the whole of it.
    """
    runs = evidence.chosen
    parts = []
    for name in ("model", "dataset"):
        values = runs[name].unique()
        if len(values) == 1 and name not in evidence.keys:
            parts.append(str(values[0]))
    held = next((value for key, value in evidence.design if key == "held equal"), "")
    seeds = runs.groupby(evidence.keys, observed=True)["seed"].nunique()
    parts += [held, counted(seeds, "seed")]
    lines = [", ".join(part for part in parts if part), note]
    broken = [part for line in lines for part in textwrap.wrap(line, LINE, break_on_hyphens=False)]
    chart.title = alt.TitleParams(text, subtitle=broken)
    return chart


_TEXT = {"labelFontSize": 11, "titleFontSize": 12}
# Of Vega-Lite, put into a specification once: each `configure_*` of Altair copies the whole chart with its data.
CONFIG: dict[str, Any] = {
    "font": "DejaVu Sans, Helvetica, Arial, sans-serif",
    "padding": 8,
    "axis": {
        "grid": True,
        "gridOpacity": 0.4,
        "titleFontWeight": "normal",
        "titleLimit": 400,
        "labelLimit": LABEL_LIMIT,
        **_TEXT,
    },
    "legend": {
        "symbolSize": 90,
        "symbolStrokeWidth": 2,
        "labelLimit": LABEL_LIMIT,
        "titleLimit": LABEL_LIMIT,
        **_TEXT,
    },
    "header": {
        "labelFontSize": 12,
        "titleFontSize": 12,
        "labelFontWeight": "bold",
        "labelLimit": 380,
        "titleLimit": 380,
    },
    "title": {"fontSize": 13, "subtitleFontSize": 11, "anchor": "start", "subtitlePadding": 4, "limit": TITLE_LIMIT},
    "view": {"continuousWidth": 300, "continuousHeight": 300, "strokeOpacity": 0.3},
}


def specification(chart: Any) -> dict[str, Any]:
    """The chart in Vega-Lite, not checked against its schema, with the fonts, sizes and limits of all figures."""
    return {**chart.to_dict(validate=False), "config": CONFIG}


HOVER = "hover"  # name of layers that only carry tooltips


def still(spec: Any) -> Any:
    """A specification for a file, without the layers that only carry tooltips: unseen points cost seconds to draw."""
    if isinstance(spec, list):
        return [still(part) for part in spec if not (isinstance(part, dict) and part.get("name") == HOVER)]
    if isinstance(spec, dict):
        return {key: value if key in ("datasets", "config") else still(value) for key, value in spec.items()}
    return spec
