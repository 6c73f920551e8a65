"""Numbers in words: where a number says nothing, words say why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from normbench.stats import verdict_text
from normbench.study.compare import Kind
from normbench.study.metrics import Metric

REASONS = {
    "not run": "one side was not run",
    "diverged": "too few survivors",
    "one seed": "one seed",
    "no spread": "no spread between seeds",
    "identical": "identical",
}
PLAN_REASONS = {
    "diverged": "not planned from survivors",
    "not run": "one side was not run",
    "one seed": "unknown with one seed",
    "no spread": "no spread between seeds",
    "no margin": "no margin is set",
}
MOST = "more than 1,000"


def listed(parts: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def counted_families(sizes: Sequence[int]) -> str:
    """`family of 4`, `families of 4 and 9`."""
    return f"family of {sizes[0]}" if len(sizes) == 1 else f"families of {listed(list(map(str, sizes)))}"


def interval_text(row: Mapping[Any, Any], metric: Metric, kind: Kind) -> str:
    """The interval of an estimate, or why there is none. Ends beyond what is possible are told as such.

    Args:
        row: Row of `estimates`.
        metric: Its metric.
        kind: Of its contrast.
    """
    if pd.isna(row["low"]):
        return f"none: {REASONS.get(row['reason'], row['reason'] or 'no pair')}"
    most = greatest(metric, kind)
    low, high = (metric.shown_number(row[end]) for end in ("low", "high"))
    if row["low"] < -most and row["high"] > most:
        return f"all of {metric.shown_number(-most)} to {metric.shown_number(most)}"
    low = f"under {metric.shown_number(-most)}" if row["low"] < -most else low
    high = f"over {metric.shown_number(most)}" if row["high"] > most else high
    return f"{low} to {high}"


def greatest(metric: Metric, kind: Kind) -> float:
    """The greatest difference that a metric admits, in a contrast of a kind; infinite where it has no end.

    Two shares differ by one at most, and two such differences (a "change", a "slope") by two.
    """
    return (2.0 if kind in {"change", "slope"} else 1.0) if metric.unit == "%" else np.inf


def size_text(differences: Iterable[float], metric: Metric) -> str:
    """The range of sizes of differences of one sign: `1.20 points`, `0.31 to 24.60 points`."""
    sizes = [abs(value) for value in differences if pd.notna(value)]
    if not sizes:
        return "an unknown size"
    low, high = metric.shown(min(sizes)), metric.shown(max(sizes))
    return f"{low if low == high else f'{low} to {high}'} {metric.difference_unit}".strip()


def seeds_text(low: Any, high: Any, reasons: Iterable[str] = ()) -> str:
    """`9 to 35 seeds`, `9 to more than 1,000 seeds`; empty where nothing is known."""
    told = list(reasons)
    most = any(MOST in reason for reason in told)
    if pd.isna(low):
        return f"{MOST} seeds" if most else ""
    if most or pd.isna(high):
        return f"{low} to {MOST} seeds"
    return f"{low} seeds" if low == high else f"{low} to {high} seeds"


def seeds_cell(row: Mapping[Any, Any], kind: str = "seeds") -> str:
    """Seeds needed of one row: a range, or words. `kind`: "seeds" for a difference, "seeds_equivalent"."""
    if row["verdict"] == "identical":
        return "identical"
    if row["plan_reason"] in PLAN_REASONS:
        return PLAN_REASONS[row["plan_reason"]]
    low, high = row[f"{kind}_low"], row[f"{kind}_high"]
    if pd.isna(low):
        return MOST
    upper = MOST if pd.isna(high) else f"{high}"
    return upper if upper == str(low) else f"{low} to {upper}"


def detectable_cell(row: Mapping[Any, Any], metric: Metric, kind: Kind) -> str:
    """The smallest difference that the seeds at hand find, as a range; words where it is beyond the metric's range."""
    low, high = row["detectable_low"], row["detectable_high"]
    if pd.isna(low):
        return "identical" if row["verdict"] == "identical" else PLAN_REASONS.get(row["plan_reason"], "unknown")
    whole = greatest(metric, kind)
    if low >= whole:
        return "no possible one"
    upper = f"over {metric.shown(whole)}" if high >= whole else metric.shown(high)
    return upper if upper == metric.shown(low) else f"{metric.shown(low)} to {upper}"


def p_text(value: float) -> str:
    """A p value; below 0.001 only that."""
    if pd.isna(value):
        return "—"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def verdict_words(row: Mapping[Any, Any], margin: str) -> str:
    """The verdict of a row with its counts; empty without one (a baseline)."""
    if not isinstance(row.get("verdict"), str):
        return ""
    return row["verdict"] if row["verdict"].startswith("not measured") else verdict_text(row, margin or "the margin")


def duration(seconds: float) -> str:
    """`about 40 s`, `about 12 minutes`, `about 3.5 hours`."""
    if seconds < 90:
        return f"about {max(10, round(seconds, -1)):.0f} s"
    if seconds < 90 * 60:
        return f"about {seconds / 60:.0f} minutes"
    return f"about {seconds / 3600:.1f} hours"
