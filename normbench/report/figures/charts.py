"""Figures as Vega-Lite specifications: the same one gives SVG, PNG and the interactive page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
from scipy import special

from normbench.report.evidence import Evidence
from normbench.stats.cell import counted_runs
from normbench.study.metrics import Metric, counted, get_metric

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
MAX_FACETS = 6
MAX_FOREST_ROWS = 48
MAX_COST_LABELS = 60
SEEDS_FOR_BANDS = 5  # an interval of two or three seeds at every point would hide the curves
DODGE = 0.07  # of a doubling: how far the markers of neighbouring norms stand apart
SPREAD = 0.8  # of a doubling: the widest that markers at one place are spread
PANEL = "panel"

alt.data_transformers.disable_max_rows()


def styles(levels: Sequence[Any]) -> tuple[list[str], list[str]]:
    """Colour and marker of each level: a norm's own everywhere, the remaining ones in order for others."""
    rest = [*OTHER_STYLES, *NORM_STYLE.values()]
    chosen = []
    for level in levels:
        style = NORM_STYLE.get(str(level)) or rest.pop(0)
        chosen.append(style)
        if style in rest:
            rest.remove(style)
    return [color for color, _ in chosen], [shape for _, shape in chosen]


@lru_cache(maxsize=1)  # files and page are made from the same ones
def specifications(evidence: Evidence) -> dict[str, dict[str, Any]]:
    """The Vega-Lite specification of every figure, by file name."""
    return {name: chart.to_dict() for name, chart in figures(evidence).items()}


def figures(evidence: Evidence) -> dict[str, alt.TopLevelMixin]:
    """Every figure that a study's data can fill, by file name."""
    if evidence.chosen.empty:
        return {}
    metric = evidence.metric
    found: dict[str, alt.TopLevelMixin | None] = {}
    measured = bool(evidence.chosen[metric.name].notna().any())
    if measured and evidence.across:
        axis = evidence.across[-1]
        found[f"{metric.name}_against_{axis}"] = against(evidence, metric, axis)
    elif measured:
        found[metric.name] = by_level(evidence, metric)
    if measured and evidence.chosen["images_per_statistic"].nunique() > 2:
        found[f"{metric.name}_against_images_per_statistic"] = against_images_per_statistic(evidence, metric)
    found["differences"] = forest(evidence)
    for axis in ("samples", "step", "seconds"):
        found[f"training_loss_by_{axis}"] = learning_curves(evidence, axis, "train", "loss")
    found["validation_accuracy_by_samples"] = learning_curves(evidence, "samples", "validation", "accuracy")
    found["cost"] = cost(evidence, metric)
    if {"base_lr"} & {evidence.tuned, *evidence.across}:
        found["learning_rates"] = heat_map(evidence, metric)
    return {name: _configured(chart) for name, chart in found.items() if chart is not None}


def _configured(chart: alt.TopLevelMixin) -> alt.TopLevelMixin:
    text = {"labelFontSize": 11, "titleFontSize": 12}
    return (
        chart.configure(font="DejaVu Sans, Helvetica, Arial, sans-serif", padding=8)
        .configure_axis(grid=True, gridOpacity=0.4, titleFontWeight="normal", **text)
        .configure_legend(symbolSize=90, symbolStrokeWidth=2, **text)
        .configure_header(labelFontSize=12, titleFontSize=12, labelFontWeight="bold")
        .configure_title(fontSize=13, subtitleFontSize=11, anchor="start", subtitlePadding=4)
        .configure_view(strokeOpacity=0.3)
    )


def _title(evidence: Evidence, text: str, note: str = "") -> alt.TitleParams:
    """What is seen, and below it where from."""
    runs = evidence.chosen
    parts = []
    for name in ("model", "dataset"):
        values = runs[name].unique()
        if len(values) == 1 and name not in (evidence.factor, *evidence.across):
            parts.append(str(values[0]))
    held = next((value for key, value in evidence.design if key == "held equal"), "")
    seeds = runs.groupby([*evidence.across, evidence.factor], observed=True)["seed"].nunique()
    parts += [held, counted(seeds, "seed")]
    return alt.TitleParams(text, subtitle=", ".join(part for part in parts if part) + (f"; {note}" if note else ""))


class _Marks:
    """Colour, marker and legend of the factor, shared by all layers of a chart."""

    def __init__(self, evidence: Evidence, levels: Sequence[Any] | None = None) -> None:
        factor = evidence.factor
        names = [str(level) for level in levels or evidence.levels]
        colors, shapes = styles(levels or evidence.levels)
        legend = alt.Legend(title=factor.replace("_", " "), symbolOpacity=1)
        self.color = alt.Color(f"{factor}:N", scale=alt.Scale(domain=names, range=colors), legend=legend, sort=names)
        self.shape = alt.Shape(f"{factor}:N", scale=alt.Scale(domain=names, range=shapes), legend=legend, sort=names)
        # A click on a name of the legend shows that level alone; shift adds further ones.
        self.toggle = alt.selection_point(fields=[factor], bind="legend", name="shown")
        self.opacity = alt.when(self.toggle).then(alt.value(1.0)).otherwise(alt.value(0.06))
        self.band = alt.when(self.toggle).then(alt.value(0.18)).otherwise(alt.value(0.01))


def _cells(evidence: Evidence, metric: Metric) -> pd.DataFrame:
    """The summary of every cell in the metric's shown unit."""
    frame = evidence.comparison[evidence.comparison["metric"] == metric.name].copy()
    for name in ("mean", "ci_low", "ci_high"):
        frame[name] = frame[name].astype(float) * metric.scale
    if metric.unit == "%":  # an interval of few seeds can leave what is possible
        frame[["ci_low", "ci_high"]] = frame[["ci_low", "ci_high"]].clip(0, 100)
    frame[evidence.factor] = frame[evidence.factor].astype(str)
    wanted = ["mean", "ci_low", "ci_high", "n", "diverged", "method", "images_per_statistic", evidence.factor]
    return frame[[*evidence.across, *wanted]]


def _tooltip(evidence: Evidence, metric: Metric) -> list[alt.Tooltip]:
    keys = [evidence.factor, *evidence.across]
    number = f",.{metric.digits}f"
    return [
        *(alt.Tooltip(f"{key}:N", title=key) for key in keys),
        alt.Tooltip("mean:Q", title=f"mean {metric.title}", format=number),
        alt.Tooltip("ci_low:Q", title="95 % from", format=number),
        alt.Tooltip("ci_high:Q", title="95 % to", format=number),
        alt.Tooltip("n:Q", title="runs"),
        alt.Tooltip("diverged:Q", title="diverged"),
        alt.Tooltip("images_per_statistic:Q", title="images per statistic"),
    ]


def _layered(
    evidence: Evidence, frame: pd.DataFrame, metric: Metric, x: alt.X, line: bool = True
) -> alt.LayerChart | alt.FacetChart:
    """Means with intervals, one line a level; one panel for each combination of the axes that are not on x."""
    marks = _Marks(evidence)
    base = alt.Chart(frame).encode(x=x, color=marks.color)
    y = alt.Y("mean:Q", title=metric.title, scale=alt.Scale(zero=False, padding=8))
    layers = [
        base.mark_point(filled=True, size=70).encode(
            y=y, shape=marks.shape, opacity=marks.opacity, tooltip=_tooltip(evidence, metric)
        ),
    ]
    if frame["ci_low"].notna().any():
        ends = {"y": alt.Y("ci_low:Q", title=metric.title), "y2": "ci_high:Q"}
        layers.insert(0, base.mark_rule(strokeWidth=1.5).encode(**ends, opacity=marks.opacity))
    if line:
        layers.insert(0, base.mark_line(strokeWidth=1.5).encode(y=y, opacity=marks.opacity))
    return alt.layer(*layers).add_params(marks.toggle).properties(width=WIDTH, height=HEIGHT)


def _panels(frame: pd.DataFrame, by: Sequence[str]) -> tuple[pd.DataFrame, alt.Facet | None, str]:
    """The rows to draw with their panel, one for each combination of the axes `by`, and what the title has to say.

    Where there are too many combinations, evenly chosen ones are drawn.
    """
    if not by:
        return frame, None, ""
    cells, note = _evenly(frame[list(by)].drop_duplicates().sort_values(list(by), kind="stable"), MAX_FACETS)
    cells[PANEL] = cells.astype(str).agg(", ".join, axis=1)
    name = " × ".join(axis.replace("_", " ") for axis in by)
    frame = frame.merge(cells, on=list(by))
    return frame, alt.Facet(f"{PANEL}:N", title=name, sort=list(cells[PANEL])), note and f"{note} of {name}"


def _evenly(rows: pd.DataFrame, most: int) -> tuple[pd.DataFrame, str]:
    """At most so many rows, evenly chosen, and a note where some are left away."""
    if len(rows) <= most:
        return rows, ""
    return rows.iloc[np.linspace(0, len(rows) - 1, most).round().astype(int)], f"; {most} of {len(rows)} values"


def against(evidence: Evidence, metric: Metric, axis: str) -> Any:
    """The metric against a swept axis, on a log scale where the axis is a quantity."""
    frame = _cells(evidence, metric)
    others = [name for name in evidence.across if name != axis]
    label = axis.replace("_", " ")
    quantity = pd.api.types.is_numeric_dtype(frame[axis]) and (frame[axis] > 0).all()
    if quantity:
        rank = frame[evidence.factor].map({str(level): i for i, level in enumerate(evidence.levels)})
        frame["x"] = frame[axis] * 2.0 ** ((rank - (len(evidence.levels) - 1) / 2) * DODGE)
        values = sorted(float(value) for value in frame[axis].unique())
        unit = " (images)" if axis == "batch_size" else ""
        x = alt.X(
            "x:Q",
            title=f"{label}{unit}, log scale",
            scale=alt.Scale(type="log", base=2, nice=False, padding=14),
            axis=alt.Axis(values=values, format="~g"),
        )
    else:
        x = alt.X(f"{axis}:N", title=label, sort=list(dict.fromkeys(frame[axis])), axis=alt.Axis(labelAngle=0))
    text = f"{_capital(metric.label)} against {label}, by {evidence.factor}"
    frame, facet, note = _panels(frame, others)
    chart = _layered(evidence, frame, metric, x)
    title = _title(evidence, text, f"mean and 95 % interval{note}")
    return chart.facet(facet, columns=2).properties(title=title) if facet else chart.properties(title=title)


def by_level(evidence: Evidence, metric: Metric) -> Any:
    """The metric of each level, for a study without other axes."""
    frame = _cells(evidence, metric)
    x = alt.X(
        f"{evidence.factor}:N",
        title=evidence.factor,
        sort=[str(level) for level in evidence.levels],
        axis=alt.Axis(labelAngle=0),
    )
    runs = counted_runs(evidence.chosen, evidence.factor, metric.name)
    runs = runs.assign(value=runs["value"] * metric.scale)
    runs[evidence.factor] = runs[evidence.factor].astype(str)  # as in `frame`: the page hides levels by name
    chart = _layered(evidence, frame, metric, x, line=False)
    single = (
        alt.Chart(runs[[evidence.factor, "seed", "value"]])
        .mark_tick(thickness=1.5, width=14, xOffset=18)
        .encode(
            x=x,
            y=alt.Y("value:Q", title=metric.title),
            tooltip=["seed:N", alt.Tooltip("value:Q", title=metric.title)],
            color=_Marks(evidence).color,
        )
    )
    title = _title(evidence, f"{_capital(metric.label)} by {evidence.factor}", "mean, 95 % interval, and every run")
    return alt.layer(chart, single).properties(width=WIDTH, height=HEIGHT, title=title)


def against_images_per_statistic(evidence: Evidence, metric: Metric) -> Any:
    """The metric against the number of images that share a mean and variance while training."""
    frame, facet, note = _panels(_cells(evidence, metric), evidence.across[:-1])
    rank = frame[evidence.factor].map({str(level): i for i, level in enumerate(evidence.levels)})
    # "none" has no statistic at all: it stands left of 1, and the axis says so.
    frame = frame.assign(place=frame["images_per_statistic"].replace(0, 0.5), rank=rank)
    frame = frame.sort_values(["rank", *evidence.across])
    # Cells at one place, such as all of a layer norm, stand side by side.
    together = ["place", *([PANEL] if facet else [])]
    side = frame.groupby(together)["rank"].cumcount() - (frame.groupby(together)["rank"].transform("size") - 1) / 2
    most = frame[together].value_counts().max()
    frame["x"] = frame["place"] * 2.0 ** (side * min(DODGE, SPREAD / most))
    values = sorted(float(value) for value in frame["place"].unique())
    label = "images per statistic (log scale; none: no statistic)"
    x = alt.X(
        "x:Q",
        title=label,
        scale=alt.Scale(type="log", base=2, nice=False, padding=14),
        axis=alt.Axis(values=values, labelExpr="datum.value < 1 ? 'none' : format(datum.value, '~g')"),
    )
    shown = metric
    if metric.name.endswith("accuracy"):  # errors differ by factors where accuracies differ by a hair
        shown = replace(metric, label=metric.label.replace("accuracy", "error"))
        frame = frame.assign(mean=100 - frame["mean"], ci_low=100 - frame["ci_high"], ci_high=100 - frame["ci_low"])
    # One curve a norm, through the means of its cells at a place.
    frame["curve"] = frame.groupby([evidence.factor, *together])["mean"].transform("mean")
    chart = _layered(evidence, frame, shown, x, line=False)
    marks = _Marks(evidence)
    y = alt.Y("curve:Q", title=shown.title)
    curve = alt.Chart(frame).mark_line(strokeWidth=1.5)
    curve = curve.encode(x=alt.X("place:Q", title=label), y=y, color=marks.color, opacity=marks.opacity)
    chart = alt.layer(curve, chart, data=frame)
    text = f"{_capital(shown.label)} against images per statistic"
    title = _title(evidence, text, f"a point a cell: mean and 95 % interval{note}")
    return chart.facet(facet, columns=2).properties(title=title) if facet else chart.properties(title=title)


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


AXIS_TITLES = {"samples": "training images seen", "step": "optimizer steps", "seconds": "training time (s)"}


def learning_curves(evidence: Evidence, axis: str, split: str, name: str) -> Any:
    """A logged metric over training, averaged over seeds; a panel for each combination of the other axes.

    The band is the 95 % interval of the mean, or with few seeds their range. Losses are averaged as
    logarithms (a geometric mean), as they are drawn on a log scale.
    """
    points = evidence.curves
    points = points[
        (points["split"] == split) & (points["metric"] == name) & np.isfinite(points["value"].astype(float))
    ]
    if points.empty or points["step"].groupby(points["run_id"], observed=True).nunique().max() < 2:
        return None
    points, facet, note = _panels(points, evidence.across)
    keys = [evidence.factor, *([PANEL] if facet else [])]
    log = name != "accuracy"
    scale = 100.0 if name == "accuracy" else 1.0
    values = points["value"].astype(float) * scale
    points = points.assign(y=np.log(values.clip(lower=1e-6)) if log else values)
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
    back: Callable[[Any], Any] = np.exp if log else np.asarray
    if frame["n"].max() < SEEDS_FOR_BANDS:
        band_name = "range over seeds"
    else:
        half = special.stdtrit(np.maximum(frame["n"] - 1, 1), 0.975) * frame["sd"] / np.sqrt(frame["n"])
        frame = frame.assign(low=frame["mean"] - half, high=frame["mean"] + half)
        band_name = "95 % band"
    frame = frame.assign(**{name: back(frame[name]) for name in ("low", "high", "mean")})
    frame[evidence.factor] = frame[evidence.factor].astype(str)
    low, high = float(frame["mean"].min()), float(frame["mean"].max())
    domain = [low * 0.8, high * 1.2] if log else [max(0.0, low - 2), min(100.0, high + 1)]
    marks = _Marks(evidence)
    label = f"{'training' if split == 'train' else split} {name}"
    y_title = f"{label} ({'nats, log scale' if log else '%'})"
    y_scale = alt.Scale(type="log" if log else "linear", domain=domain, clamp=True, nice=False)
    base = alt.Chart(frame).encode(
        x=alt.X(f"{axis}:Q", title=AXIS_TITLES[axis], axis=alt.Axis(format="~s", tickCount=5)), color=marks.color
    )
    tooltip = [
        *(alt.Tooltip(f"{key}:N") for key in keys),
        alt.Tooltip(f"{axis}:Q", format=",.1f"),
        alt.Tooltip("mean:Q", title=label, format=".4f"),
        alt.Tooltip("n:Q", title="runs"),
    ]
    band = base.mark_area().encode(y=alt.Y("low:Q", scale=y_scale, title=y_title), y2="high:Q", opacity=marks.band)
    y = alt.Y("mean:Q", scale=y_scale, title=y_title)
    line = base.mark_line(strokeWidth=1.6).encode(y=y, opacity=marks.opacity)
    hover = base.mark_point(opacity=0, size=80).encode(y=y, tooltip=tooltip)
    by_seed = "geometric mean" if log else "mean"
    if diverged := int(evidence.chosen["diverged_at_step"].notna().sum()):
        note += f"; {counted([diverged], 'run')} diverged"
    title = _title(
        evidence, f"{_capital(label)} over {AXIS_TITLES[axis].removesuffix(' (s)')}", f"{by_seed} and {band_name}{note}"
    )
    chart = alt.layer(band, line, hover).add_params(marks.toggle)
    if facet is None:
        return chart.properties(width=WIDTH, height=HEIGHT, title=title)
    faceted = chart.properties(width=WIDTH * 0.62, height=HEIGHT * 0.75).facet(facet, columns=2)
    faceted = faceted.resolve_scale(x="shared" if axis == "samples" else "independent")
    return faceted.properties(title=title)


def forest(evidence: Evidence) -> Any:
    """Paired differences from the baseline with their intervals, and the margin within which nothing matters."""
    pairs, metric = evidence.pairs, evidence.metric
    if pairs.empty or pairs["diff_ci_low"].isna().all():
        return None
    frame = pairs[[evidence.factor, *evidence.across, "diff", "diff_ci_low", "diff_ci_high", "verdict", "pairs"]].copy()
    left_away = ""
    if evidence.across and len(frame) > MAX_FOREST_ROWS:
        cells, left_away = _evenly(
            frame[evidence.across].drop_duplicates(), MAX_FOREST_ROWS // (len(evidence.levels) - 1)
        )
        frame = frame.merge(cells, on=evidence.across)
        left_away += " of " + " × ".join(axis.replace("_", " ") for axis in evidence.across)
    for name in ("diff", "diff_ci_low", "diff_ci_high"):
        frame[name] = frame[name].astype(float) * metric.scale
    frame[evidence.factor] = frame[evidence.factor].astype(str)
    frame["row"] = [
        ", ".join([str(row[evidence.factor]), *(f"{axis.replace('_', ' ')} {row[axis]}" for axis in evidence.across)])
        for row in frame.to_dict("records")
    ]
    margin = evidence.study.compare.margin * metric.scale
    marks = _Marks(evidence, [level for level in evidence.levels if level != evidence.baseline])
    y = alt.Y("row:N", sort=list(frame["row"]), title=None, axis=alt.Axis(labelLimit=260))
    better = "right is better" if metric.higher_is_better else "left is better"
    title = f"difference in {metric.label} from {evidence.baseline} ({metric.difference_unit}; {better})"
    base = alt.Chart(frame).encode(y=y, color=marks.color)
    zone = (
        alt.Chart(pd.DataFrame({"low": [-margin], "high": [margin]}))
        .mark_rect(opacity=0.12, color="#888888")
        .encode(x=alt.X("low:Q", title=title), x2="high:Q")
    )
    zero = alt.Chart(pd.DataFrame({"x": [0]})).mark_rule(color="#888888").encode(x="x:Q")
    rule = base.mark_rule(strokeWidth=2).encode(
        x=alt.X("diff_ci_low:Q", title=title), x2="diff_ci_high:Q", opacity=marks.opacity
    )
    told = alt.FieldOneOfPredicate(field="verdict", oneOf=["better", "worse"])
    point = base.mark_point(size=80, strokeWidth=1.5).encode(
        x="diff:Q",
        shape=marks.shape,
        opacity=marks.opacity,
        fill=alt.when(told).then(marks.color).otherwise(alt.value("white")),
        tooltip=[
            alt.Tooltip("row:N", title="comparison"),
            alt.Tooltip("diff:Q", title=f"difference ({metric.difference_unit})", format="+.3f"),
            alt.Tooltip("diff_ci_low:Q", title="95 % from", format="+.3f"),
            alt.Tooltip("diff_ci_high:Q", title="95 % to", format="+.3f"),
            alt.Tooltip("pairs:Q"),
            alt.Tooltip("verdict:N"),
        ],
    )
    note = f"filled: told apart (Holm); grey: within the margin of {margin:g} {metric.difference_unit}{left_away}"
    text = f"Paired differences from {evidence.baseline}, with 95 % intervals"
    return (
        alt.layer(zone, zero, rule, point)
        .add_params(marks.toggle)
        .properties(width=WIDTH, height={"step": 19}, title=_title(evidence, text, note))
    )


def cost(evidence: Evidence, metric: Metric) -> Any:
    """The metric against training time, a point a cell."""
    frame = _cells(evidence, metric)
    seconds = _cells(evidence, get_metric("seconds"))
    keys = [*evidence.across, evidence.factor]
    frame = frame.merge(seconds[[*keys, "mean"]].rename(columns={"mean": "seconds"}), on=keys)
    if frame["seconds"].isna().all():
        return None
    marks = _Marks(evidence)
    x = alt.X(
        "seconds:Q",
        title="training time, mean over seeds (s, log scale)",
        scale=alt.Scale(type="log", nice=False, padding=16),
    )
    y = alt.Y("mean:Q", title=metric.title, scale=alt.Scale(zero=False, padding=8))
    tooltip = [*_tooltip(evidence, metric), alt.Tooltip("seconds:Q", title="training time (s)", format=".1f")]
    base = alt.Chart(frame).encode(x=x, y=y)
    layers = [
        base.mark_point(filled=True, size=80).encode(
            color=marks.color, shape=marks.shape, opacity=marks.opacity, tooltip=tooltip
        )
    ]
    note = ""
    if evidence.across and len(frame) <= MAX_COST_LABELS:
        axis = evidence.across[-1]
        layers.append(base.mark_text(dx=9, align="left", fontSize=9, color="#777777").encode(text=f"{axis}:N"))
        note = f"numbers: {axis.replace('_', ' ')}"
    title = _title(evidence, f"{_capital(metric.label)} against training time", note)
    return alt.layer(*layers).add_params(marks.toggle).properties(width=WIDTH, height=HEIGHT, title=title)


def heat_map(evidence: Evidence, metric: Metric) -> Any:
    """Mean of the metric for each level and learning rate; a diverged run counts at chance."""
    values = evidence.runs[metric.name].astype(float)
    if metric.chance is not None:
        values = values.where(evidence.runs["diverged_at_step"].isna(), metric.chance)
    frame = (
        evidence.runs.assign(value=values * metric.scale)
        .groupby([evidence.factor, "base_lr"], as_index=False, observed=True)["value"]
        .mean()
    )
    frame[evidence.factor] = frame[evidence.factor].astype(str)
    names = [str(level) for level in evidence.levels]
    base = alt.Chart(frame).encode(
        x=alt.X(
            "base_lr:O",
            title="learning rate at the reference batch",
            axis=alt.Axis(labelAngle=0, format="~g", grid=False),
        ),
        y=alt.Y(f"{evidence.factor}:N", sort=names, title=evidence.factor, axis=alt.Axis(grid=False)),
    )
    color = alt.Color("value:Q", title=metric.title, scale=alt.Scale(scheme="viridis"))
    middle = (frame["value"].min() + frame["value"].max()) / 2
    cells = base.mark_rect().encode(
        color=color, tooltip=[evidence.factor, "base_lr", alt.Tooltip("value", title=metric.title)]
    )
    text = base.mark_text(fontSize=10).encode(
        text=alt.Text("value:Q", format=f".{max(0, metric.digits - 1)}f"),
        color=alt.when(alt.datum.value > middle).then(alt.value("black")).otherwise(alt.value("white")),
    )
    title = _title(evidence, f"{_capital(metric.label)} by {evidence.factor} and learning rate", "mean over all else")
    return alt.layer(cells, text).properties(width=WIDTH, height={"step": 30}, title=title)
