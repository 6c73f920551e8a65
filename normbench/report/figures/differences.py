"""Paired differences from the baseline: simultaneous intervals, every seed, and the margin, in panels of the cells."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from normbench.report.evidence import Evidence
from normbench.report.figures import frames
from normbench.report.figures.bent import NOTE, difference_axis
from normbench.report.figures.style import FACTOR, WIDTH, Figure, Marks, shown_title, titled
from normbench.report.words import greatest, verdict_words
from normbench.study.metrics import counted

MAX_ROWS = 60  # rows of all panels
ROW = 17  # height of a row
TOLD = ["better", "worse", "better by less than the margin", "worse by less than the margin"]
SIDE, DOWN = "side", "down"


def figure(evidence: Evidence) -> Figure | None:
    """A row a comparison: the swept axis from top to bottom, the other axes beside each other."""
    pairs, metric = evidence.pairs, evidence.metric
    lost = int((pairs["pairs"] == 0).sum())
    pairs = pairs[pairs["pairs"] > 0]
    if pairs.empty or pairs["low"].isna().all():
        return None
    of = frames.fields(evidence)
    columns = [evidence.factor, *evidence.across]
    rows = pairs[[*columns, "diff", "low", "high", "pairs"]].assign(
        told=pairs["verdict"].isin(TOLD),
        verdict=[verdict_words(row, evidence.margin_text) for row in pairs.to_dict("records")],
    )
    rows, cut = frames.possible(rows, greatest(metric, "levels"))
    single = evidence.differences(evidence.contrasts[0], metric).dropna(subset=["diff"])
    seeds = single.rename(columns={"treatment": evidence.factor})[[*columns, "seed", "diff"]]
    seeds = seeds.rename(columns={"diff": "value"})
    whole = pd.concat([_drawn(evidence, rows, "cell"), _drawn(evidence, seeds, "seed")], ignore_index=True)
    whole[["diff", "low", "high", "value"]] = whole[["diff", "low", "high", "value"]].astype(float) * metric.scale
    whole, left_away = _few(evidence, whole, of)
    swept = evidence.across[-1] if evidence.across else None
    levels = [str(level) for level in evidence.levels if str(level) in set(whole[FACTOR])]
    marks = Marks(evidence, [level for level in evidence.levels if level != evidence.baseline])
    x, bent = _x(evidence, whole)
    y = alt.Y(f"{FACTOR}:N", sort=levels, title=None, scale=alt.Scale(domain=levels), axis=alt.Axis(ticks=False))
    width = WIDTH if not evidence.across[:-1] else WIDTH * 0.7
    chart = alt.layer(*_layers(evidence, marks, x, y), data=whole, width=width, height=ROW * len(levels) + 6)
    chart = _paneled(evidence, chart, whole, swept)
    notes = ["filled: told apart; faint: every seed"]
    if evidence.margin is not None:
        notes.append(f"grey: within the margin of {evidence.margin_text}")
    if bent:
        notes.append(NOTE)
    notes += ["an empty panel: no comparison"] if swept and _gaps(whole, [of[axis] for axis in evidence.across]) else []
    notes += [f"without {counted([lost], 'comparison')} that have no pair with two values"] if lost else []
    notes += [left_away] if left_away else []
    notes += [cut] if cut else []
    text = f"Paired differences from {evidence.level_name(evidence.baseline)}: 95 % intervals, family of "
    chart = titled(evidence, chart, f"{text}{evidence.family}", "; ".join(notes))
    return Figure(
        "differences",
        chart,
        f"Paired differences in {metric.label} from {evidence.baseline} with simultaneous 95 % intervals; the table "
        "of comparisons has the numbers.",
        frames.named(
            evidence,
            whole,
            {"kind": "kind", "diff": "difference", "low": "95 % from", "high": "95 % to", "verdict": "verdict"}
            | {"seed": "seed", "value": "value"},
        ),
        f"How far each {evidence.title(evidence.factor)} lies from {evidence.level_name(evidence.baseline)} in the "
        "same seeds; all intervals hold at once with 95 %, and every verdict is read off its interval.",
    )


def _gaps(frame: pd.DataFrame, fields: list[str]) -> bool:
    """Whether the swept axis, the last field, lacks a value somewhere beside the others."""
    *others, swept = (len(frame[part].drop_duplicates()) for part in (fields[:-1], fields[-1:]) if part)
    return len(frame[fields].drop_duplicates()) < swept * (others[0] if others else 1)


def _drawn(evidence: Evidence, frame: pd.DataFrame, kind: str) -> pd.DataFrame:
    return frames.drawn(evidence, frame).assign(kind=kind)


def _few(evidence: Evidence, frame: pd.DataFrame, of: dict[str, str]) -> tuple[pd.DataFrame, str]:
    """At most MAX_ROWS rows: whole cells, evenly chosen along each axis."""
    most = max(1, MAX_ROWS // max(1, len(evidence.levels) - 1))
    notes = []
    limits = {axis: frames.MAX_FACETS // 2 if axis != evidence.across[-1] else most for axis in evidence.across}
    room = most
    for axis in evidence.across:
        values = frame[[of[axis]]].drop_duplicates()
        limit = max(1, min(limits[axis], room))
        if len(evidence.across) == 1:
            limit = most
        kept, note = frames.evenly(values, limit)
        room = max(1, room // len(kept))
        if note:
            notes.append(f"{note} of {shown_title(evidence, axis)}")
            frame = frame.merge(kept, on=of[axis])
    return frame, "; ".join(notes)


def _x(evidence: Evidence, frame: pd.DataFrame) -> tuple[alt.X, bool]:
    """The axis, and whether it is linear only near zero."""
    metric = evidence.metric
    better = "right is better" if metric.higher_is_better else "left is better"
    unit = f"{metric.difference_unit}; " if metric.difference_unit else ""
    title = [f"difference in {metric.label}", f"({unit}{better})"]  # in one line, panels' titles would meet
    scale, axis, bent = difference_axis(frame["diff"], frame[["low", "high", "value"]])
    return alt.X("diff:Q", title=title if evidence.across[:-1] else " ".join(title), scale=scale, axis=axis), bent


def _layers(evidence: Evidence, marks: Marks, x: alt.X, y: alt.Y) -> list[Any]:
    cell, seed = alt.datum.kind == "cell", alt.datum.kind == "seed"
    metric = evidence.metric
    number = f"+.{metric.digits}f"
    base = alt.Chart().encode(y=y, color=marks.color)
    low, _high, value = (_at(x, name) for name in ("low", "high", "value"))
    layers: list[Any] = []
    if evidence.margin is not None:
        margin = evidence.margin * metric.scale
        zone = alt.Chart().transform_calculate(from_=f"{-margin}", to_=f"{margin}")
        zone = zone.transform_aggregate(from_="min(from_)", to_="max(to_)")  # one rectangle a panel
        zone = zone.mark_rect(color="#888888", clip=True)
        layers.append(zone.encode(x=_at(x, "from_"), x2="to_:Q", opacity=alt.value(0.12)))
    tell = [
        alt.Tooltip(f"{field}:N", title=evidence.title(column)) for column, field in frames.fields(evidence).items()
    ][: len(evidence.keys)]
    unit = f" ({metric.difference_unit})" if metric.difference_unit else ""
    each = [*tell, alt.Tooltip("seed:N"), alt.Tooltip("value:Q", title=f"difference{unit}", format=number)]
    zero = alt.Chart().transform_calculate(zero="0").transform_aggregate(zero="min(zero)")
    layers.append(zero.mark_rule(color="#888888").encode(x=_at(x, "zero")))
    layers.append(
        base.transform_filter(seed)
        .mark_point(filled=True, size=14, yOffset=5)
        .encode(x=value, opacity=marks.shade(0.35), tooltip=each)
    )
    layers.append(
        base.transform_filter(cell).mark_rule(strokeWidth=2).encode(x=low, x2="high:Q", opacity=marks.opacity)
    )
    told = [*tell, alt.Tooltip("diff:Q", title=f"difference{unit}", format=number)]
    told += [alt.Tooltip("low:Q", title="95 % from", format=number)]
    told += [alt.Tooltip("high:Q", title="95 % to", format=number), alt.Tooltip("pairs:Q"), alt.Tooltip("verdict:N")]
    point = base.transform_filter(cell).mark_point(size=70, strokeWidth=1.5)
    fill = alt.when(alt.datum.told).then(marks.color).otherwise(alt.value("white"))
    layers.append(point.encode(x=x, shape=marks.shape, opacity=marks.opacity, fill=fill, tooltip=told))
    layers[-1] = layers[-1].add_params(marks.toggle)
    return layers


def _at(x: alt.X, field: str) -> alt.X:
    found = x.copy()
    found.shorthand = f"{field}:Q"
    return found


def _paneled(evidence: Evidence, chart: Any, frame: pd.DataFrame, swept: str | None) -> Any:
    """The swept axis in rows, the combinations of the others in columns."""
    if swept is None:
        return chart
    order, frame = _ordered(evidence, frame, [swept], DOWN)
    long = max(map(len, order)) > 12
    header = alt.Header(
        labelAngle=0, labelAlign="left", labelLimit=130 if long else 90, labelExpr=frames.texts_of_places(order)
    )
    row = alt.Row(f"{DOWN}:O", title=shown_title(evidence, swept), header=header)
    if not evidence.across[:-1]:
        chart.data = frame
        return chart.facet(row=row)
    order, frame = _ordered(evidence, frame, evidence.across[:-1], SIDE)
    chart.data = frame
    heading = " × ".join(shown_title(evidence, axis) for axis in evidence.across[:-1])
    header = alt.Header(labelExpr=frames.texts_of_places(order), labelLimit=280)
    return chart.facet(row=row, column=alt.Column(f"{SIDE}:O", title=heading, header=header))


def _ordered(evidence: Evidence, frame: pd.DataFrame, axes: list[str], field: str) -> tuple[list[str], pd.DataFrame]:
    """The combinations of axes as text in order, and the frame with the place of each row's among them."""
    of = [frames.fields(evidence)[axis] for axis in axes]
    cells = frame[of].drop_duplicates()
    places = pd.concat([frames.place(evidence, axis, cells[name]) for axis, name in zip(axes, of, strict=True)], axis=1)
    texts = cells.astype(str).agg(", ".join, axis=1)
    keys = list(map(tuple, places.to_numpy().tolist()))
    first = dict(sorted(dict(zip(keys, texts, strict=True)).items()))
    rank = {key: i for i, key in enumerate(first)}
    ranks = np.array([rank[key] for key in keys], dtype=int)
    cell = frame.groupby(of, sort=False, dropna=False).ngroup()  # numbered as they come, as in `cells`
    return list(first.values()), frame.assign(**{field: ranks[cell]})
