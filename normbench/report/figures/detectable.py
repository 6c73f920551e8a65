"""How small a difference n seeds can show, from the spread of this study."""

from __future__ import annotations

import altair as alt
import pandas as pd

from normbench.report.evidence import Evidence
from normbench.report.figures import frames
from normbench.report.figures.style import HEIGHT, WIDTH, Figure, titled
from normbench.stats import detectable_by_seeds

SEEDS = range(3, 31)


def figure(evidence: Evidence) -> Figure | None:
    """The smallest difference that n seeds find, and the smallest margin of equivalence, for the typical comparison.

    A range: from the spread at hand to its upper confidence limit, both of the median over the comparisons.
    """
    metric, pairs = evidence.metric, evidence.pairs
    known = pairs.dropna(subset=["sd_planned", "sd_upper"])
    if known.empty:
        return None
    sd, upper = (float(known[name].median()) for name in ("sd_planned", "sd_upper"))
    criterion = evidence.criterion(metric)
    table = detectable_by_seeds(sd, upper, SEEDS, power=criterion.power, alpha=criterion.alpha / evidence.family)
    names = {"detectable": "difference found", "equivalent": "equivalence shown"}
    parts = [
        pd.DataFrame(
            {
                "seeds": table["seeds"],
                "what": text,
                "low": table[f"{kind}_low"] * metric.scale,
                "high": table[f"{kind}_high"] * metric.scale,
            }
        )
        for kind, text in names.items()
    ]
    frame = pd.concat(parts, ignore_index=True)
    if metric.unit == "%":
        frame = frame[frame["low"] < 100]
        frame["high"] = frame["high"].clip(upper=100)
    unit = f"({metric.difference_unit}, log scale)" if metric.difference_unit else "(log scale)"
    drawn = [frame["low"].min(), frame["high"].max(), *([evidence.margin * metric.scale] if evidence.margin else [])]
    domain = [float(min(drawn)) / 1.2, float(max(drawn)) * 1.2]
    color = alt.Color(
        "what:N",
        title=None,
        scale=alt.Scale(domain=list(names.values()), range=["#0072B2", "#D55E00"]),
        legend=alt.Legend(symbolOpacity=1),
    )
    y = alt.Y(
        "low:Q",
        title=[f"difference in {metric.label}", unit],
        scale=alt.Scale(type="log", domain=domain, nice=False),
        axis=frames.log_axis(*domain),
    )
    base = alt.Chart().encode(
        x=alt.X("seeds:Q", title="seeds", scale=alt.Scale(domain=[2, SEEDS[-1]], nice=False)), color=color
    )
    tell = [alt.Tooltip("what:N", title=" "), alt.Tooltip("seeds:Q")]
    ends = {"low": "at the spread at hand", "high": "at its upper limit"}
    tell += [alt.Tooltip(f"{end}:Q", title=text, format=f".{metric.digits}f") for end, text in ends.items()]
    layers = [
        base.mark_area(opacity=0.18).encode(y=y, y2="high:Q", tooltip=tell),
        base.mark_line(strokeWidth=1.5).encode(y=y),
    ]
    if evidence.margin is not None:
        rule = alt.Chart().transform_calculate(margin=f"{evidence.margin * metric.scale}")
        rule = rule.transform_aggregate(margin="min(margin)").mark_rule(strokeDash=[4, 3], color="#777777")
        layers.append(rule.encode(y="margin:Q"))
    now = alt.Chart().transform_calculate(now=f"{evidence.seeds}").transform_aggregate(now="min(now)")
    layers.append(now.mark_rule(color="#bbbbbb").encode(x="now:Q"))
    chart = alt.layer(*layers, data=frame, width=WIDTH, height=HEIGHT)
    dashed = f"dashed: the margin of {evidence.margin_text}; " if evidence.margin is not None else ""
    note = f"{dashed}grey: the seeds of this study; 80 % power in a family of {evidence.family}"
    title = "What n seeds can show: from the spread at hand to its upper limit"
    return Figure(
        "detectable",
        titled(evidence, chart, title, note),
        f"Smallest difference in {metric.label} that n seeds find, and smallest margin of equivalence that they show.",
        frame.rename(columns=ends),
        f"How small a difference in {metric.label} n seeds would find, and how small a margin they would show to be "
        "kept, if seeds spread as they do here; the bands reach to the upper limit of that spread.",
    )
