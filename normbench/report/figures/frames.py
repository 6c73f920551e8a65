"""Frames that are drawn: cells, seeds and panels, in fields with safe names."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from normbench.report.evidence import Evidence
from normbench.report.figures.style import FACTOR, PANEL, PANEL_PLACE, shown_title
from normbench.stats.cell import cell_places, counted_runs
from normbench.study.metrics import Metric

MAX_FACETS = 8
FEWEST_TICKS = 4
BY_FACTORS = 3.0  # largest over smallest mean from which an axis is logarithmic
DODGE = 0.07  # of a doubling: how far the markers of neighbouring levels stand apart
SPREAD = 0.8  # of a doubling: the widest that markers at one place are spread


def fields(evidence: Evidence) -> dict[str, str]:
    """The field of each axis' column in every drawn frame."""
    others = [*evidence.across, *([evidence.tuned] if evidence.tuned else [])]
    return {evidence.factor: FACTOR} | {column: f"axis{i}" for i, column in enumerate(others)}


def log_axis(low: float, high: float, **options: Any) -> alt.Axis:
    """The axis of a logarithmic scale, with round values, few enough to be read."""
    tens = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 2, 3, 5, 7), (1, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9)):
        values = [float(f"{step}e{ten}") for ten in tens for step in steps]
        values = [value for value in values if low <= value <= high]
        if len(values) >= FEWEST_TICKS:
            return alt.Axis(values=values, format="~g", labelOverlap=True, **options)
    return alt.Axis(**options)


def drawn(evidence: Evidence, frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with safe fields for the axes; levels as text, since the page hides them by name."""
    frame = frame.rename(columns=fields(evidence))
    if FACTOR in frame:
        frame[FACTOR] = frame[FACTOR].astype(str)
    for name in frame.columns:
        if isinstance(frame[name].dtype, pd.CategoricalDtype):
            frame[name] = frame[name].astype(str)
    return frame


def named(evidence: Evidence, frame: pd.DataFrame, columns: dict[str, str] | None = None) -> pd.DataFrame:
    """A drawn frame under the names that a reader knows: axes by their titles, the rest by `columns`."""
    back = {field: evidence.title(column) for column, field in fields(evidence).items()}
    kept = [name for name in frame.columns if name in back or name in (columns or {})]
    titles: list[str] = []
    for name in kept:
        title = back.get(name) or (columns or {})[name]
        while title in titles:
            title = f"axis {title}" if name in back else f"{title} (value)"
        titles.append(title)
    return frame[kept].set_axis(titles, axis=1)


@dataclass(frozen=True)
class Shown:
    """A metric as it is drawn: an accuracy as its error, since errors differ by factors where accuracies do by a hair.

    Args:
        metric: What is drawn, with its label.
        error: Whether it is an accuracy's error.
        log: Whether its axis is logarithmic.
    """

    metric: Metric
    error: bool
    log: bool

    @property
    def title(self) -> str:
        """Of the axis."""
        return self.metric.title + (", log scale" if self.log else "")

    def values(self, values: pd.Series) -> pd.Series:
        """Values of the column in the shown unit."""
        scaled = values.astype(float) * self.metric.scale
        return 100 - scaled if self.error else scaled

    def scale(self, *values: pd.Series, low: pd.Series | None = None) -> alt.Scale:
        """The scale of the axis; a logarithmic one reaches over the means and seeds, ends of intervals are cut.

        Args:
            values: Means, and seeds where they are drawn.
            low: Lower ends of intervals, where they are drawn.
        """
        found = pd.concat(values)
        if not self.log:
            reach = found if low is None else pd.concat([found, low])
            # Room below the least, and a round number to begin with, would show less than 0 %.
            near = self.metric.unit == "%" and 0 <= reach.min() < (reach.max() - reach.min()) / 8
            return alt.Scale(zero=True, nice=True) if near else alt.Scale(zero=False, padding=8, nice=True)
        found = found[found > 0]
        return alt.Scale(type="log", domain=[float(found.min()) / 1.25, float(found.max()) * 1.25], nice=False)

    def y(self, shorthand: str, scale: alt.Scale) -> alt.Y:
        """A vertical channel in the shown unit."""
        axis = log_axis(*scale.to_dict()["domain"]) if self.log else alt.Axis()
        return alt.Y(shorthand, title=self.title, scale=scale, axis=axis)


def shown_metric(metric: Metric, means: pd.Series) -> Shown:
    """How a metric is drawn whose cells have these means (in its own unit)."""
    error = metric.is_accuracy
    if error:
        metric = replace(metric, label=metric.label.replace("accuracy", "error"), higher_is_better=False)
    values = Shown(metric, error, False).values(means).dropna()
    positive = len(values) > 0 and bool((values > 0).all())
    log = positive and not metric.higher_is_better and values.max() / values.min() >= BY_FACTORS
    return Shown(metric, error, bool(log))


def cell_frame(evidence: Evidence, metric: Metric, cells: pd.DataFrame | None = None) -> tuple[pd.DataFrame, Shown]:
    """The summary of every cell as it is drawn: safe axes, mean, low, high, n, diverged, and what share a statistic.

    Args:
        evidence: The study.
        metric: What is drawn.
        cells: The summary (see `summarize`), where it is not that of the comparison.
    """
    frame = evidence.comparison[evidence.comparison["metric"] == metric.name] if cells is None else cells
    shown = shown_metric(metric, frame["mean"])
    low, high = ("ci_high", "ci_low") if shown.error else ("ci_low", "ci_high")
    frame = frame.assign(mean=shown.values(frame["mean"]), low=shown.values(frame[low]), high=shown.values(frame[high]))
    if metric.unit == "%":  # an interval of few seeds can leave what is possible
        frame[["low", "high"]] = frame[["low", "high"]].clip(0, 100)
    facts = [name for name in ("images_per_statistic", "values_per_statistic") if name in frame]
    frame = frame[[*evidence.keys, "mean", "low", "high", "n", "diverged", *facts]]
    return drawn(evidence, frame), shown


def seed_frame(evidence: Evidence, metric: Metric, shown: Shown) -> pd.DataFrame:
    """Every run's value as it is drawn: safe axes, seed, value; diverged runs have none."""
    runs = counted_runs(evidence.chosen, evidence.keys, metric.name).dropna(subset=["value"])
    runs = runs.assign(value=shown.values(runs["value"]))[[*evidence.keys, "seed", "value"]]
    return drawn(evidence, runs)


def copies(evidence: Evidence, seeds: pd.DataFrame) -> dict[tuple[Any, ...], str]:
    """Cells whose runs are those of an earlier level to the last bit, with that level: (factor, other axes) to it.

    Synchronised batch norm on one device is batch norm: drawn beside it, it would look like a second measurement.
    """
    others = [fields(evidence)[axis] for axis in evidence.across]
    order = {str(level): place for place, level in enumerate(evidence.levels)}
    found: dict[tuple[Any, ...], str] = {}
    for cell, places in cell_places(seeds, others):
        runs: dict[str, list[tuple[Any, float]]] = {}
        part = seeds.iloc[places]
        for level, seed, value in zip(part[FACTOR], part["seed"], part["value"], strict=True):
            runs.setdefault(level, []).append((seed, value))
        originals: dict[tuple[Any, ...], str] = {}
        for level in sorted(runs, key=lambda name: order.get(name, 0)):
            same = tuple(sorted(runs[level]))
            if len(same) > 1 and same in originals:
                found[level, *cell.values()] = originals[same]
            originals.setdefault(same, level)
    return found


def clipped(frame: pd.DataFrame, scale: alt.Scale) -> pd.DataFrame:
    """The ends of intervals cut to what a logarithmic axis can show."""
    domain = scale.to_dict().get("domain")
    if domain is None:
        return frame
    return frame.assign(low=frame["low"].clip(lower=domain[0]), high=frame["high"].clip(upper=domain[1]))


def possible(rows: pd.DataFrame, most: float) -> tuple[pd.DataFrame, str]:
    """The ends `low` and `high` of differences cut to what is possible, and a note where some are.

    What lies beyond says nothing, and would press all else together.
    """
    ends = rows[["low", "high"]].astype(float)
    beyond = bool((ends.abs() > most).any(axis=None))
    return rows.assign(**ends.clip(-most, most)), "intervals are cut at what is possible" if beyond else ""


def evenly(rows: pd.DataFrame, most: int) -> tuple[pd.DataFrame, str]:
    """At most so many rows, evenly chosen, and a note where some are left away."""
    if len(rows) <= most:
        return rows, ""
    places = np.linspace(0, len(rows) - 1, most).round().astype(int)
    return rows.iloc[places], f"{most} of {len(rows)} values"


def panels(evidence: Evidence, frame: pd.DataFrame, by: Sequence[str]) -> tuple[pd.DataFrame, list[str], str, str]:
    """The rows to draw with their panel, one for each combination of the columns `by`.

    Where there are too many combinations, evenly chosen ones are drawn.

    Returns:
        The rows, the panels in order (empty without `by`), their heading, and a note of what is left away.
    """
    if not by:
        return frame, [], "", ""
    of = fields(evidence)
    keys = [of[column] for column in by]
    places = [place(evidence, column, frame[of[column]]) for column in by]
    first = frame[keys].assign(**dict(zip(_ranks(by), places, strict=True))).drop_duplicates(keys)
    cells, note = evenly(first.sort_values(_ranks(by), kind="stable")[keys], MAX_FACETS)
    texts = cells.astype(str).agg(", ".join, axis=1)
    cells = cells.assign(**{PANEL: texts}).assign(**{PANEL_PLACE: range(len(cells))})
    heading = " × ".join(shown_title(evidence, column) for column in by)
    frame = frame.merge(cells, on=keys)
    return frame, list(texts), heading, note and f"{note} of {heading}"


def _ranks(by: Sequence[str]) -> list[str]:
    return [f"rank {i}" for i in range(len(by))]


def place(evidence: Evidence, column: str, values: pd.Series) -> pd.Series:
    """What values of an axis are sorted by: quantities by size, names as the study has them."""
    if pd.api.types.is_numeric_dtype(values):
        return values
    axis = next((axis for axis, found in evidence.columns.items() if found == column), None)
    labels = [level.label for level in evidence.study.axes[axis]] if axis else sorted(values.unique())
    return values.map({str(label): i for i, label in enumerate(labels)} | {label: i for i, label in enumerate(labels)})


def texts_of_places(texts: Sequence[str]) -> str:
    """A Vega expression that shows places 0, 1, ... as texts.

    Facets are sorted by place: with an array to sort by, Vega-Lite puts cells under the headings of others where a
    combination is missing.
    """
    return f"{json.dumps([str(text) for text in texts])}[datum.value]"


def faceted(chart: Any, order: Sequence[str], heading: str) -> Any:
    """The chart in panels, or as it is without any."""
    if not order:
        return chart
    header = alt.Header(labelExpr=texts_of_places(order))
    faceted = chart.facet(alt.Facet(f"{PANEL_PLACE}:O", title=heading, header=header), columns=2)
    # Where the last row is not full, a shared axis would stand far below the panel above the gap.
    return faceted.resolve_axis(x="independent") if len(order) > 2 and len(order) % 2 else faceted


def is_quantity(values: pd.Series) -> bool:
    """Whether an axis can be logarithmic: numbers above zero (truth values are names)."""
    numeric = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    return bool(numeric and (values > 0).all())


def deciding_axes(evidence: Evidence) -> list[str]:
    """Other axes that change what is trained on or what is trained: their values are never averaged or joined."""
    runs, found = evidence.chosen, []
    for axis in evidence.across:
        for what in ("dataset", "model"):
            if axis == what or (
                runs[what].nunique() > 1 and runs.groupby(axis, observed=True)[what].nunique().max() == 1
            ):
                found.append(axis)
                break
    return found


def tooltip(evidence: Evidence, frame: pd.DataFrame, shown: Shown) -> list[alt.Tooltip]:
    """What a mark of a cell tells."""
    number = f",.{shown.metric.digits}f"
    back = {field: evidence.title(column) for column, field in fields(evidence).items()}
    found = [alt.Tooltip(f"{field}:N", title=title) for field, title in back.items() if field in frame]
    found += [
        alt.Tooltip("mean:Q", title=f"mean {shown.metric.title}", format=number),
        alt.Tooltip("low:Q", title="95 % from", format=number),
        alt.Tooltip("high:Q", title="95 % to", format=number),
        alt.Tooltip("n:Q", title="runs"),
        alt.Tooltip("diverged:Q", title="diverged"),
    ]
    facts = {"images_per_statistic": "images per statistic", "values_per_statistic": "values per statistic"}
    return found + [alt.Tooltip(f"{name}:Q", title=title) for name, title in facts.items() if name in frame]


CELL_COLUMNS = {
    "panel": "panel",
    "mean": "mean",
    "low": "95 % from",
    "high": "95 % to",
    "n": "runs",
    "diverged": "diverged",
    "images_per_statistic": "images per statistic",
    "values_per_statistic": "values per statistic",
}
