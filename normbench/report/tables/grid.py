"""A table of cells, which every format is written from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Args:
        text: What it says.
        mark: "best", "tied" with the best, or "" for neither.
        value: The number that it is sorted by in a page; None: it is sorted as text, after all numbers.
    """

    text: str
    mark: str = ""
    value: float | None = None


@dataclass(frozen=True)
class Grid:
    """A table: heading, column headings, rows of a heading cell and cells, a footnote, and the columns of words."""

    title: str
    columns: list[str]
    rows: list[tuple[str, list[Cell]]]
    footnote: str
    words: tuple[str, ...] = ()
