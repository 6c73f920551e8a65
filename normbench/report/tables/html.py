"""Grids as HTML."""

from __future__ import annotations

import html

from normbench.report.tables.grid import Cell, Grid

TALL = 40  # rows from which a table scrolls in a box of its own


def html_table(grid: Grid, identifier: str) -> str:
    """A grid as an HTML table with a caption; all text is escaped, numbers carry the value that they sort by."""
    head = "".join(
        f'<th scope="col" class="{"words" if column in grid.words else "plain"}">{html.escape(column)}</th>'
        for column in ("", *grid.columns)
    )
    box = "scroll tall" if len(grid.rows) > TALL else "scroll"
    body = []
    for name, cells in grid.rows:
        shown = (_td(cell, column in grid.words) for column, cell in zip(grid.columns, cells, strict=True))
        body.append(f'<tr><th scope="row">{html.escape(name)}</th>{"".join(shown)}</tr>')
    return (
        f'<div class="{box}" tabindex="0" role="region" aria-label="{html.escape(grid.title)}">'
        f'<table id="{identifier}" class="sortable"><caption><span>{html.escape(grid.title)}</span></caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
        f'<p class="note">{html.escape(grid.footnote)}</p>'
    )


def _td(cell: Cell, words: bool) -> str:
    kind = "words" if words else cell.mark or "plain"
    value = f' data-value="{cell.value!r}"' if cell.value is not None else ""
    return f'<td class="{kind}"{value}>{html.escape(cell.text)}{" †" * (cell.mark == "tied")}</td>'
