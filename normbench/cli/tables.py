"""Tables on a terminal of any width."""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence

from normbench.output import takes_unicode


def print_table(
    title: str,
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Collection[str] = (),
    lines: bool = False,
    width: int = 140,
) -> None:
    """Prints a table whose words stay whole: the last columns that do not fit are left out, and named below it.

    Args:
        title: Above it.
        headings: One a column.
        rows: A text a cell; it may have several lines.
        right: Headings of columns of numbers.
        lines: Whether a line stands between rows.
        width: Columns where the output is no terminal.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else width, markup=False)
    columns = [[heading, *cells] for heading, *cells in zip(headings, *rows, strict=True)]
    words = [max(len(word) for cell in column for word in cell.split()) for column in columns]
    while len(words) > 2 and sum(words) + 3 * len(words) + 1 > console.width:
        words.pop()
    style = box.HEAVY_HEAD if lines else box.SIMPLE_HEAD
    table = Table(title=title, show_lines=lines, box=style if takes_unicode() else box.ASCII)
    for column, word in zip(columns, words, strict=False):
        cells = [line for cell in column[1:] for line in cell.splitlines()]
        whole = max(map(len, [*cells, ""])) <= word
        table.add_column(
            column[0],
            overflow="fold",
            no_wrap=whole and len(column[0]) <= word,
            min_width=word,
            justify="right" if column[0] in right else "left",
        )
    for row in rows:
        table.add_row(*row[: len(words)])
    console.print(table)
    if left := headings[len(words) :]:
        print(f"left out, since the terminal has {console.width} columns: {', '.join(left)}")
