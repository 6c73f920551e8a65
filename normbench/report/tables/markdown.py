"""Grids as Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from normbench.report.evidence import Evidence
from normbench.report.tables.grid import Grid

_MARKDOWN = re.compile(r"[\\`*<|]|\](?=[(\[])|(?<!\w)_|_(?!\w)|&(?=[#\w]+;)|^[#>+-](?=\s)|^\d+[.)](?=\s)|~~")
MARKS = {"best": "**{}**", "tied": "{} †", "": "{}"}


def markdown_heading(evidence: Evidence) -> str:
    """Name, question and answer of a study, above its tables."""
    texts = [f"## {evidence.study.name}", escaped(evidence.study.question), escaped(" ".join(evidence.answer))]
    return "\n\n".join(texts) + "\n\n"


def markdown(grid: Grid) -> str:
    """A grid as a Markdown table."""
    lines = [
        f"### {escaped(grid.title)}",
        "",
        _line(["", *map(escaped, grid.columns)]),
        _line(["---", *("---" if column in grid.words else "---:" for column in grid.columns)]),
    ]
    lines += [_line([escaped(name), *(MARKS[c.mark].format(escaped(c.text)) for c in row)]) for name, row in grid.rows]
    return "\n".join([*lines, "", escaped(grid.footnote), ""])


def _line(texts: Sequence[str]) -> str:
    return f"| {' | '.join(texts)} |"


def escaped(text: str) -> str:
    """Text that Markdown shows as it is, in a table too: no markup, no column, no line of its own."""
    return _MARKDOWN.sub(r"\\\g<0>", " ".join(text.split()))
