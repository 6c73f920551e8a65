"""The test error with running averages and with precise statistics, where runs have both."""

from __future__ import annotations

import altair as alt
import pandas as pd

from normbench.report.evidence import Evidence
from normbench.report.figures import frames
from normbench.report.figures.style import FACTOR, HEIGHT, WIDTH, Figure, Marks, capital, shown_title, titled
from normbench.report.tables.precise import PRECISE, RUNNING, runs_with_both
from normbench.stats import summarize

KIND = "statistics"
KINDS = ("running averages", "precise statistics")


def figure(evidence: Evidence) -> Figure | None:
    """Both evaluations of every level that has running averages, side by side in each cell."""
    runs = runs_with_both(evidence)
    if runs.empty:
        return None
    (running, shown), (precise, _) = (
        frames.cell_frame(
            evidence, metric, evidence.in_order(summarize(runs, evidence.keys, metric.name, missing="left out"))
        )
        for metric in (RUNNING, PRECISE)
    )
    keys = [field for field in frames.fields(evidence).values() if field in running]
    both = running.merge(precise, on=keys, suffixes=("", "_precise")).dropna(subset=["mean", "mean_precise"])
    averaging = both.loc[both["mean"] != both["mean_precise"], FACTOR].unique()
    both = both[both[FACTOR].isin(averaging)]
    if both.empty:
        return None
    parts = {"": KINDS[0], "_precise": KINDS[1]}
    frame = pd.concat(
        [
            both[keys].assign(**{KIND: kind} | {name: both[name + end] for name in ("mean", "low", "high", "n")})
            for end, kind in parts.items()
        ],
        ignore_index=True,
    )
    scale = shown.scale(frame["mean"], low=frame["low"])
    frame = frames.clipped(frame, scale)
    axis = evidence.across[-1] if evidence.across else None
    frame, order, heading, left_away = frames.panels(evidence, frame, evidence.across[:-1])
    field = frames.fields(evidence)[axis] if axis else FACTOR
    title = shown_title(evidence, axis or evidence.factor)
    marks = Marks(evidence, [level for level in evidence.levels if str(level) in set(averaging)])
    offset = alt.XOffset("place:N", sort=[f"{name} {kind}" for name in marks.names for kind in KINDS])
    frame = frame.assign(place=frame[FACTOR] + " " + frame[KIND])
    labels = list(dict.fromkeys(frame[field]))  # in the order of the study, not of the alphabet
    x = alt.X(f"{field}:O", title=title, sort=labels, axis=alt.Axis(labelAngle=0))
    base = alt.Chart().encode(x=x, color=marks.color)
    base = base.encode(xOffset=offset, opacity=marks.opacity)
    shape = alt.Shape(
        f"{KIND}:N",
        scale=alt.Scale(domain=list(KINDS), range=["circle", "diamond"]),
        legend=alt.Legend(title="evaluated with", symbolOpacity=1),
    )
    tell = [*frames.tooltip(evidence, frame, shown), alt.Tooltip(f"{KIND}:N", title="evaluated with")]
    layers = [
        base.mark_rule(strokeWidth=1.2).encode(y=shown.y("low:Q", scale), y2="high:Q"),
        base.mark_point(filled=True, size=70)
        .encode(y=shown.y("mean:Q", scale), shape=shape, tooltip=tell)
        .add_params(marks.toggle),
    ]
    chart = alt.layer(*layers, data=frame, width=WIDTH, height=HEIGHT)
    text = f"{capital(shown.metric.label)} with running averages and with precise statistics"
    note = "; ".join(part for part in ("the same weights twice, mean and 95 % interval", left_away) if part)
    return Figure(
        "precise_statistics",
        titled(evidence, frames.faceted(chart, order, heading), text, note),
        f"{text}; the table of both has the numbers.",
        frames.named(evidence, frame, {KIND: "evaluated with", **frames.CELL_COLUMNS}),
        f"{text}: where the latter do better, the running averages were noisy; what is left comes from training.",
    )
