"""The levels side by side in every cell, and every contrast with its one interval and the verdict read off it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from normbench.report.answer import UNNAMED
from normbench.report.contrasts import Contrast
from normbench.report.evidence import Evidence
from normbench.report.tables.grid import Cell, Grid
from normbench.report.words import detectable_cell, interval_text, p_text, seeds_cell, verdict_words
from normbench.stats import seeds_for_exact
from normbench.study.metrics import COST, Metric, counted, get_metric

ALL = "all runs"


def cell_text(row: Mapping[Any, Any], metric: Metric) -> str:
    """`98.93 ± 0.11`; an interval that is not symmetric is given by its ends; diverged runs are counted."""
    if pd.isna(row["mean"]):
        text = "—"
    elif pd.isna(row["ci_low"]):
        text = metric.shown(row["mean"])
    elif row["method"] == "Student t":
        half = row["ci_high"] - row["mean"]
        # Two seeds give intervals of ± 109 points: beyond the scale the number says nothing.
        whole = metric.unit == "%" and half >= 1
        text = f"{metric.shown(row['mean'])} ± {f'over {metric.scale:g}' if whole else metric.shown(half)}"
    else:
        text = f"{metric.shown(row['mean'])} [{metric.shown(row['ci_low'])}, {metric.shown(row['ci_high'])}]"
    return text + (f" ({row['diverged']:.0f} of {row['n']:.0f} diverged)" if row["diverged"] else "")


def comparison_grid(evidence: Evidence, metric: str | None = None) -> Grid:
    """Factor x swept axis, in one metric; further axes are named with the level of the factor."""
    chosen = get_metric(metric or evidence.metric.name)
    frame = evidence.comparison[evidence.comparison["metric"] == chosen.name]
    swept, others = (evidence.across[-1], evidence.across[:-1]) if evidence.across else (None, [])
    columns = list(dict.fromkeys(frame[swept])) if swept else [ALL]
    cells: dict[tuple[str, Any], Cell] = {}
    for row in frame.to_dict("records"):
        name = ", ".join(
            [evidence.level_name(row[evidence.factor]), *(f"{evidence.title(axis)} {row[axis]}" for axis in others)]
        )
        mark = row["mark"] if isinstance(row.get("mark"), str) else ""
        value = None if pd.isna(row["mean"]) else float(row["mean"])
        cells[name, row[swept] if swept else ALL] = Cell(cell_text(row, chosen), mark, value)
    names = list(dict.fromkeys(name for name, _ in cells))
    rows = [(name, [cells.get((name, key), Cell("not run")) for key in columns]) for name in names]
    headings = [f"{evidence.title(swept)} {key}" if swept else str(key) for key in columns]
    title = f"{chosen.title[0].upper()}{chosen.title[1:]}"
    return Grid(title, headings, rows, _footnote(evidence, frame, chosen))


def _footnote(evidence: Evidence, frame: pd.DataFrame, metric: Metric) -> str:
    """Names n, interval, test, family and correction."""
    if frame.empty:
        return "No run is done yet."
    methods = sorted({str(m) for m in frame["method"] if not str(m).startswith("none")}) or ["none computable"]
    n = f"n = {counted(frame['n'], 'run').rpartition(' ')[0]}"
    first = f"Mean ± half the 95 % interval of the mean over seeds ({', '.join(methods)}; {n}). "
    if metric.name in COST:
        return first + "Not measured for a comparison: runs share a machine."
    keys = evidence.planned[evidence.keys].drop_duplicates()
    sizes = keys.groupby(evidence.across, observed=True).size() if evidence.across else pd.Series([len(keys)])
    pairs = counted([levels * (levels - 1) // 2 for levels in sizes], "pair")
    return (
        f"{first}Bold: best, told apart from every other in its column; †: best, or not told apart from the best "
        f"(paired by seed, simultaneous 95 % intervals over the {pairs} of its column). "
        "Means are of the runs that did not diverge."
    )


def pairs_grid(evidence: Evidence) -> Grid:
    """The first contrast: every paired comparison with the baseline, in the study's metric."""
    return contrast_grid(evidence, 0)


def contrast_grid(evidence: Evidence, index: int) -> Grid:
    """A contrast's rows: verdict, difference, its simultaneous interval, divergence, and seeds needed."""
    metric, contrast = evidence.metric, evidence.contrasts[index]
    table = evidence.pairs if index == 0 else evidence.estimates[index]
    unit = f" ({metric.difference_unit})" if metric.difference_unit else ""
    difference, detectable = f"difference{unit}", f"detectable{unit}"
    equivalence = ["seeds for equivalence"] if evidence.margin is not None else []
    ratio = ["errors"] if metric.is_accuracy and contrast.kind == "levels" else []
    columns = [
        "verdict",
        difference,
        *ratio,
        "95 % interval",
        "pairs",
        "p (adjusted)",
        "seeds needed",
        *equivalence,
        detectable,
    ]
    diverged = bool((table["diverged_treatment"] + table["diverged_baseline"]).any())
    if diverged:
        columns.insert(columns.index("pairs") + 1, "diverged")
    rows = []
    for row in table.to_dict("records"):
        left_out = f" ({row['left_out']:.0f} left out)" if row["left_out"] else ""
        shown = metric.shown_number(row["diff"]) if pd.notna(row["diff"]) else "—"
        cells = [
            Cell(verdict_words(row, evidence.margin_text)),
            Cell(shown, value=_number(row["diff"])),
            *(Cell(_times(row["error_ratio"]), value=_number(row["error_ratio"])) for _ in ratio),
            Cell(interval_text(row, metric, contrast.kind), value=_number(row["low"])),
            Cell(f"{row['pairs']:.0f}{left_out}", value=float(row["pairs"])),
            Cell(p_text(row["p_adjusted"]), value=_number(row["p_adjusted"])),
            Cell(seeds_cell(row), value=_number(row["seeds_low"])),
            *(
                Cell(seeds_cell(row, "seeds_equivalent"), value=_number(row["seeds_equivalent_low"]))
                for _ in equivalence
            ),
            Cell(detectable_cell(row, metric, contrast.kind), value=_number(row["detectable_low"])),
        ]
        if diverged:
            cells.insert(columns.index("diverged"), Cell(_divergence(row), value=float(row["diverged_treatment"])))
        rows.append((row_name(evidence, contrast, row), cells))
    return Grid(contrast_title(evidence, contrast), columns, rows, _note(evidence, contrast, table), words=("verdict",))


def row_name(evidence: Evidence, contrast: Contrast, row: Mapping[Any, Any]) -> str:
    """A row of a contrast in words: `group, batch_size 32`; `layout 16x2, model mlp`."""
    cell = [f"{evidence.title(axis)} {row[axis]}" for axis in contrast.across]
    if contrast.kind == "within":
        return ", ".join([f"{evidence.title(contrast.along)} {row['treatment']}", *cell])
    if contrast.kind == "change":
        cell.insert(0, f"to {evidence.title(contrast.along)} {contrast.stop(row['along'])}")
    return ", ".join([evidence.level_name(row["treatment"], contrast.factor), *cell])


def contrast_title(evidence: Evidence, contrast: Contrast) -> str:
    """What is compared, with the contrast's name where another one has the same title (on other cells)."""
    title = _title(evidence, contrast)
    alike = [_title(evidence, other) for other in evidence.contrasts].count(title) > 1
    return f"{title} ({contrast.name})" if alike and not UNNAMED.fullmatch(contrast.name) else title


def _title(evidence: Evidence, contrast: Contrast) -> str:
    base, along = evidence.level_name(contrast.baseline, contrast.factor), evidence.title(contrast.along)
    titles = {
        "levels": f"Compared with {base}",
        "within": f"Within {base}: {along} compared with {contrast.start}",
        "change": f"Change from {along} {contrast.start}, compared with {base}",
        "slope": f"Slope per doubling of {along}, compared with {base}",
    }
    return titles[contrast.kind]


def _divergence(row: Mapping[Any, Any]) -> str:
    sides = [f"{row[f'diverged_{side}']} of {row[f'runs_{side}']}" for side in ("treatment", "baseline")]
    p = f" (p {p_text(row['p_diverged'])})" if row["p_diverged"] < 1 else ""
    return f"{sides[0]}, baseline {sides[1]}{p}"


def _times(ratio: float) -> str:
    return "—" if pd.isna(ratio) else f"× {ratio:.2f}"


def _number(value: Any) -> float | None:
    return None if pd.isna(value) else float(value)


def _note(evidence: Evidence, contrast: Contrast, table: pd.DataFrame) -> str:
    metric, family = evidence.metric, evidence.families[contrast.family]
    errors = {
        "paired": "paired t",
        "shrunk": "its variance shrunk to that of its cell",
        "pooled": "its variance pooled over its cell, which finds too much where norms differ in spread",
    }
    used = "; ".join(text for error, text in errors.items() if (table["error"] == error).any()) or "no pair yet"
    rows = "" if len(table) == family else f", {counted([len(table)], 'row')} with data here"
    declared = counted([family], "comparison")
    if contrast != evidence.contrasts[0]:
        return f"As above: {used}; the intervals hold at once for a family of {declared}{rows}."
    note = (
        f"Difference in {metric.label}, paired by seed ({used}). The intervals hold all at once "
        f"with 95 %: family of {declared} that the study declares{rows}; p is adjusted likewise "
        f"(Bonferroni), and the verdict is read off the interval."
    )
    if metric.is_accuracy:
        note += " Errors: those of the level as a multiple of the baseline's, of the means over the same seeds."
    if evidence.looks:
        looks = evidence.looks
        note += (
            f" The level is split among {looks.looks} planned looks, of which {looks.done} are made: a row is that of "
            "the look that decided it, else of the latest."
        )
    if evidence.margin is not None:
        note += (
            f" Equivalent: the interval lies within {evidence.margin_text}. Seeds needed to find a difference of "
            f"{evidence.margin_text} with 80 % power in this family, and for equivalence to show that there is none, "
            "both from the spread at hand to its upper limit; detectable: the smallest difference that the pairs at "
            "hand find with that power."
        )
    else:
        note += " No margin is set (compare.margin), so nothing is called equivalent."
    if (table["diverged_treatment"] + table["diverged_baseline"]).any():
        note += (
            " A diverged run has no value: the difference is of the seeds in which neither side diverged; p beside "
            "the counts is the exact paired one of divergence."
        )
    return note + _exact_note(family, table)


def _exact_note(family: int, table: pd.DataFrame) -> str:
    """Why no exact test is shown where it could never reach the level."""
    n, least = int(table["pairs"].max()) if len(table) else 0, seeds_for_exact(comparisons=family)
    if not 0 < n < least:
        return ""
    return (
        f" No exact (sign-flip or Wilcoxon) p is given: {counted([n], 'pair')} can give p >= {2 / 2**n:.3g} at best, "
        f"and a family of {family} needs {0.05 / family:.2g}: at least {least} seeds."
    )
