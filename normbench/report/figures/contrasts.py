"""The further contrasts of a study, within a level or between changes: estimates with their simultaneous intervals."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import altair as alt
import pandas as pd

from normbench.report.contrasts import Contrast
from normbench.report.evidence import Evidence
from normbench.report.figures import frames
from normbench.report.figures.bent import NOTE, difference_axis
from normbench.report.figures.style import FACTOR, PANEL, PANEL_PLACE, WIDTH, Figure, Marks, titled
from normbench.report.tables.comparison import contrast_title, row_name
from normbench.report.words import counted_families, greatest, verdict_words

ROW, MAX_ROWS = 18, 60


def figure(evidence: Evidence) -> Figure | None:
    """A row a comparison, a panel a contrast; None where the study declares levels against the baseline alone."""
    rows, titles, cut = _rows(evidence)
    if rows.empty or rows["low"].isna().all():
        return None
    left = len(rows) - MAX_ROWS
    rows = rows.head(MAX_ROWS)
    metric, marks = evidence.metric, Marks(evidence)
    better = "right is better" if metric.higher_is_better else "left is better"
    unit = f"{metric.difference_unit}; " if metric.difference_unit else ""
    title = f"difference in {metric.label} ({unit}{better})"
    y = alt.Y("row:N", sort=None, title=None, axis=alt.Axis(ticks=False, labelLimit=260))
    base = alt.Chart().encode(y=y, color=marks.color, opacity=marks.opacity)
    fill = alt.when(alt.datum.told).then(marks.color).otherwise(alt.value("white"))
    tell = [alt.Tooltip("row:N", title=" "), alt.Tooltip("verdict:N")]
    tell += [
        alt.Tooltip(f"{name}:Q", title=text, format=f"+.{metric.digits}f")
        for name, text in {"diff": "difference", "low": "95 % from", "high": "95 % to"}.items()
    ]
    scale, axis, bent = difference_axis(rows["diff"], rows[["low", "high"]])
    low, middle = (alt.X(f"{name}:Q", title=title, scale=scale, axis=axis) for name in ("low", "diff"))
    layers: list[Any] = [
        alt.Chart().mark_rule(color="#888888").encode(x=alt.XDatum(0, title=title, scale=scale)),
        base.mark_rule(strokeWidth=2).encode(x=low, x2="high:Q"),
        base.mark_point(size=55).encode(x=middle, shape=marks.shape, fill=fill, tooltip=tell),
    ]
    panels = [
        alt.layer(
            *layers[:2],
            layers[2] if place else layers[2].add_params(marks.toggle),
            data=part,
            title=alt.TitleParams(titles[place], fontSize=12, offset=4),
            width=WIDTH,
            height=ROW * len(part),
        )
        for place, (_, part) in enumerate(rows.groupby(PANEL_PLACE))
    ]
    chart = alt.vconcat(*panels).resolve_scale(x="shared")
    notes = [
        "filled: told apart",
        *([NOTE] if bent else []),
        *([f"without {left} further rows"] if left > 0 else []),
        *([cut] if cut else []),
    ]
    sizes = list(dict.fromkeys(evidence.families[contrast.family] for contrast in evidence.contrasts[1:]))
    head = f"Further contrasts: 95 % intervals, {counted_families(sizes)}"
    return Figure(
        "contrasts",
        titled(evidence, chart, head, "; ".join(notes)),
        f"Differences in {metric.label} of the further contrasts with simultaneous 95 % intervals.",
        frames.named(
            evidence,
            rows,
            {PANEL: "contrast", "row": "row", "diff": "difference", "low": "95 % from", "high": "95 % to"}
            | {"verdict": "verdict"},
        ),
        "What the study asks besides the levels against the baseline; the intervals hold at once with those of the "
        "differences.",
    )


def _rows(evidence: Evidence) -> tuple[pd.DataFrame, list[str], str]:
    """A row a comparison in the metric's shown unit, with its panel; the panels in order; and what is cut, in words."""
    found: list[dict[str, Any]] = []
    titles: list[str] = []
    note = ""
    for contrast, table in list(zip(evidence.contrasts, evidence.estimates, strict=True))[1:]:
        kept, cut = frames.possible(table[table["pairs"] > 0], greatest(evidence.metric, contrast.kind))
        if kept.empty:
            continue
        note = note or cut
        titles.append(_panel_title(evidence, contrast))
        for row in kept.to_dict("records"):
            level = contrast.baseline if contrast.kind == "within" else row["treatment"]
            found.append(
                {
                    FACTOR: str(level),
                    PANEL: titles[-1],
                    PANEL_PLACE: len(titles) - 1,
                    "row": _short_name(evidence, contrast, row),
                    **{name: row[name] * evidence.metric.scale for name in ("diff", "low", "high")},
                    "told": str(row["verdict"]).startswith(("better", "worse")),
                    "verdict": verdict_words(row, evidence.margin_text),
                }
            )
    columns = [FACTOR, PANEL, PANEL_PLACE, "row", "diff", "low", "high", "told", "verdict"]
    return pd.DataFrame(found, columns=columns), titles, note


def _panel_title(evidence: Evidence, contrast: Contrast) -> str:
    """What is compared, and of which cells where the contrast's name does not stand for them."""
    title = contrast_title(evidence, contrast)
    alone = [f"{evidence.title(axis)} {labels[0]}" for axis, labels in contrast.where.items() if len(labels) == 1]
    return title if contrast.name in title else ", ".join([title, *alone])


def _short_name(evidence: Evidence, contrast: Contrast, row: dict[Any, Any]) -> str:
    """The row's name without the axes on which the contrast keeps one label: its panel is of that one alone."""
    alone = {column for column, labels in contrast.where.items() if len(labels) == 1}
    across = tuple(column for column in contrast.across if column not in alone)
    return row_name(evidence, replace(contrast, across=across), row)
