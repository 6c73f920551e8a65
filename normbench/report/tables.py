"""Comparison tables for people: Markdown, LaTeX and HTML from one grid of cells."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from normbench.report.evidence import Evidence
from normbench.stats import seeds_for_exact
from normbench.study.metrics import Metric, counted, get_metric

CSV_COLUMNS = (
    "n",
    "mean",
    "sd",
    "ci_low",
    "ci_high",
    "method",
    "median",
    "min",
    "max",
    "diverged",
    "images_per_statistic",
    "parameters",
    "mark",
    "baseline",
    "diff",
    "sd_diff",
    "diff_ci_low",
    "diff_ci_high",
    "pairs",
    "left_out",
    "p",
    "p_holm",
    "p_equivalent_holm",
    "margin",
    "verdict",
    "seeds_needed",
    "detectable",
)


TALL = 40  # rows from which a table scrolls in a box of its own


@dataclass(frozen=True)
class Cell:
    """A cell of a table: what it says, and whether it is the best ("best"), tied with the best, or neither."""

    text: str
    mark: str = ""


@dataclass(frozen=True)
class Grid:
    """A table: heading, column headings, rows of a heading cell and cells, a footnote, and the columns of words."""

    title: str
    columns: list[str]
    rows: list[tuple[str, list[Cell]]]
    footnote: str
    words: tuple[str, ...] = ()


def markdown_heading(evidence: Evidence) -> str:
    """Name, question and answer of a study, above its tables in Markdown."""
    texts = [f"## {evidence.study.name}", _escaped(evidence.study.question), _escaped(" ".join(evidence.answer))]
    return "\n\n".join(texts) + "\n\n"


def tidy(evidence: Evidence) -> pd.DataFrame:
    """comparison.csv: a row for each cell and metric."""
    columns = [*evidence.across, evidence.factor, "metric", *CSV_COLUMNS, *([evidence.tuned] if evidence.tuned else [])]
    return evidence.comparison.reindex(columns=columns)


def cell_text(row: Mapping[Any, Any], metric: Metric) -> str:
    """`98.93 ± 0.11`; an interval that is not symmetric is given by its ends; diverged runs are counted."""
    if pd.isna(row["mean"]):
        text = "—"
    elif pd.isna(row["ci_low"]):
        text = metric.shown(row["mean"])
    elif row["method"] == "Student t":
        text = f"{metric.shown(row['mean'])} ± {metric.shown(row['ci_high'] - row['mean'])}"
    else:
        text = f"{metric.shown(row['mean'])} [{metric.shown(row['ci_low'])}, {metric.shown(row['ci_high'])}]"
    return text + (f" ({row['diverged']} of {row['n']} diverged)" if row["diverged"] else "")


def comparison_grid(evidence: Evidence, metric: str | None = None) -> Grid:
    """Factor x swept axis, in one metric; further axes are named with the level of the factor."""
    chosen = get_metric(metric or evidence.metric.name)
    frame = evidence.comparison[evidence.comparison["metric"] == chosen.name]
    swept, others = (evidence.across[-1], evidence.across[:-1]) if evidence.across else (None, [])
    columns = list(dict.fromkeys(frame[swept])) if swept else ["all runs"]
    cells: dict[tuple[str, Any], Cell] = {}
    for row in frame.to_dict("records"):
        name = ", ".join([str(row[evidence.factor]), *(f"{axis} {row[axis]}" for axis in others)])
        cells[name, row[swept] if swept else "all runs"] = Cell(cell_text(row, chosen), row["mark"])
    names = list(dict.fromkeys(name for name, _ in cells))
    rows = [(name, [cells.get((name, key), Cell("not run")) for key in columns]) for name in names]
    headings = [f"{swept} {key}" if swept else str(key) for key in columns]
    return Grid(f"{chosen.title[0].upper()}{chosen.title[1:]}", headings, rows, footnote(evidence, frame, chosen))


def footnote(evidence: Evidence, frame: pd.DataFrame, metric: Metric) -> str:
    """Names n, interval, test, family and correction."""
    if frame.empty:
        return "No run is done yet."
    methods = sorted({str(m) for m in frame["method"] if not str(m).startswith("none")}) or ["none computable"]
    n = f"n = {counted(frame['n'], 'run').rpartition(' ')[0]}"
    levels = frame[evidence.factor].nunique()
    return (
        f"Mean ± half the 95 % interval of the mean over seeds ({', '.join(methods)}; {n}). "
        "Bold: best, told apart from every other in its column; †: best, or not told apart from the best "
        f"(paired t test within the seed, corrected over the {levels * (levels - 1) // 2} pairs of its column, "
        "5 %). Means are of the runs that did not diverge."
    )


def pairs_grid(evidence: Evidence) -> Grid:
    """Every paired comparison with the baseline, in the study's metric."""
    metric, pairs = evidence.metric, evidence.pairs
    unit = f" ({metric.difference_unit})" if metric.difference_unit else ""
    columns = [f"difference{unit}", "95 % interval", "pairs", "p (Holm)", "verdict", "seeds needed"]
    columns.append(f"detectable{unit}")
    rows = []
    for row in pairs.to_dict("records"):
        diff, low, high = (metric.shown_number(row[key]) for key in ("diff", "diff_ci_low", "diff_ci_high"))
        left_out = f" ({row['left_out']:.0f} left out)" if row["left_out"] else ""
        texts = [
            diff,
            f"{low} to {high}" if pd.notna(row["diff_ci_low"]) else "—",
            f"{row['pairs']:.0f}{left_out}",
            _p(row["p_holm"]),
            _verdict(row["verdict"], metric, evidence.study.compare.margin),
            f"{row['seeds_needed']:.0f}" if pd.notna(row["seeds_needed"]) else "—",
            metric.shown(row["detectable"]) if pd.notna(row["detectable"]) else "—",
        ]
        rows.append((evidence.row_name(row), [Cell(text) for text in texts]))
    margin = f"{evidence.study.compare.margin * metric.scale:g} {metric.difference_unit}".strip()
    note = (
        f"Difference in {metric.label} from {evidence.baseline}, paired by seed; paired t interval, not corrected; "
        f"p corrected by Holm over the {len(pairs)} rows. Equivalent: two one-sided tests within {margin}, corrected "
        f"likewise. Seeds needed to find a difference of {margin} with 80 % power at the first Holm step, from the "
        "observed standard deviation of the paired difference; detectable: the smallest difference that the pairs "
        f"at hand find with that power.{_exact_note(len(pairs), pairs)}"
    )
    return Grid(f"Compared with {evidence.baseline}", columns, rows, note, words=("verdict",))


def _exact_note(family: int, pairs: pd.DataFrame) -> str:
    """Why no exact test is shown where it could never reach the level."""
    if pairs.empty:
        return ""
    n, least = int(pairs["pairs"].max()), seeds_for_exact(comparisons=family)
    if n >= least:
        return ""
    return (
        f" No exact (sign-flip or Wilcoxon) p is given: {counted([n], 'pair')} can give p >= {2 / 2**n:.3g} at best, "
        f"and the first Holm step over {family} comparisons needs {0.05 / family:.2g}: at least {least} seeds."
    )


def _p(value: float) -> str:
    if pd.isna(value):
        return "—"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _verdict(verdict: str, metric: Metric, margin: float) -> str:
    shown = f"{margin * metric.scale:g} {metric.difference_unit}".strip()
    return f"equivalent within {shown}" if verdict.startswith("equivalent") else verdict


def cost_grid(evidence: Evidence) -> Grid:
    """Parameters, time and throughput of every cell."""
    facts = ["parameters", "seconds", "samples_per_second", "images_per_statistic"]
    medians = evidence.chosen.groupby([*evidence.across, evidence.factor], observed=True)[facts].median().reset_index()
    rows = []
    for row in evidence.in_order(medians).to_dict("records"):
        texts = [
            f"{row['parameters']:,.0f}",
            f"{row['images_per_statistic']:.0f}",
            f"{row['seconds']:.1f}",
            f"{row['samples_per_second']:,.0f}" if pd.notna(row["samples_per_second"]) else "—",
        ]
        rows.append((evidence.row_name(row), [Cell(text) for text in texts]))
    headings = ["parameters", "images per statistic", "training time (s)", "throughput (images/s)"]
    note = (
        "Medians over seeds. Training alone: evaluation, checkpoints and the first steps are left out. Runs that "
        "share a machine disturb each other's times."
    )
    return Grid("What it costs", headings, rows, note)


def markdown(grid: Grid) -> str:
    """A grid as a Markdown table."""
    marks = {"best": "**{}**", "tied": "{} †", "": "{}"}
    lines = [
        f"### {_escaped(grid.title)}",
        "",
        _line(["", *map(_escaped, grid.columns)]),
        _line(["---", *("---" if column in grid.words else "---:" for column in grid.columns)]),
    ]
    lines += [
        _line([_escaped(name), *(marks[c.mark].format(_escaped(c.text)) for c in row)]) for name, row in grid.rows
    ]
    return "\n".join([*lines, "", _escaped(grid.footnote), ""])


def _line(texts: Sequence[str]) -> str:
    return f"| {' | '.join(texts)} |"


_MARKDOWN = re.compile(r"[\\`*<|]|\](?=\()|(?<!\w)_|_(?!\w)|&(?=[#\w]+;)")


def _escaped(text: str) -> str:
    """Text that Markdown shows as it is, in a table too: no markup, no column, no line of its own."""
    return _MARKDOWN.sub(r"\\\g<0>", " ".join(text.split()))


_TEX = str.maketrans(
    {
        "&": r"\&",
        "%": r"\%",
        "$": r"\$",
        "#": r"\#",
        "_": r"\_",
        "{": r"\{",
        "}": r"\}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "\\": r"\textbackslash{}",
        "±": r"$\pm$",
        "†": r"$\dagger$",
        "—": "---",
        "<": r"$<$",
        ">": r"$>$",
    }
)


def latex(grid: Grid) -> str:
    """A grid as a LaTeX table; needs the package booktabs."""
    marks = {"best": r"\textbf{{{}}}", "tied": r"{}$^\dagger$", "": "{}"}
    body = [
        " & ".join([name.translate(_TEX), *(marks[c.mark].format(c.text.translate(_TEX)) for c in row)]) + r" \\"
        for name, row in grid.rows
    ]
    heading = " & ".join(["", *(column.translate(_TEX) for column in grid.columns)]) + r" \\"
    sides = "".join("l" if column in grid.words else "r" for column in grid.columns)
    lines = [
        r"% \usepackage{booktabs}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{grid.title.translate(_TEX)}. {grid.footnote.translate(_TEX)}}}",
        rf"\begin{{tabular}}{{l{sides}}}",
        r"\toprule",
        heading,
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def html_table(grid: Grid, identifier: str) -> str:
    """A grid as an HTML table with a caption; all text is escaped."""
    head = "".join(
        f'<th scope="col" class="{"words" if column in grid.words else "plain"}">{html.escape(column)}</th>'
        for column in ("", *grid.columns)
    )
    box = "scroll tall" if len(grid.rows) > TALL else "scroll"
    body = []
    for name, cells in grid.rows:
        shown = (
            f'<td class="{"words" if column in grid.words else cell.mark or "plain"}">'
            f"{html.escape(cell.text)}{' †' * (cell.mark == 'tied')}</td>"
            for column, cell in zip(grid.columns, cells, strict=True)
        )
        body.append(f'<tr><th scope="row">{html.escape(name)}</th>{"".join(shown)}</tr>')
    return (
        f'<div class="{box}" tabindex="0" role="region" aria-label="{html.escape(grid.title)}">'
        f'<table id="{identifier}" class="sortable"><caption>{html.escape(grid.title)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
        f'<p class="note">{html.escape(grid.footnote)}</p>'
    )
