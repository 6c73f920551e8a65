"""Tables for people, as Markdown, LaTeX and HTML from one grid of cells, and as CSV.

grid.py         a table of cells
comparison.py   factor x swept axis, and every contrast with its interval and verdict
precise.py      running averages beside precise statistics
images.py       the sample of test images
further.py      the tuned value, images to a target, what it costs
markdown.py, latex.py, html.py, csv.py
"""

from __future__ import annotations

from normbench.report.evidence import Evidence
from normbench.report.tables.comparison import comparison_grid, contrast_grid, pairs_grid
from normbench.report.tables.csv import contrasts_csv, csv_text, paired_seeds, read_csv, tidy
from normbench.report.tables.further import chosen_grid, cost_grid, target_grid
from normbench.report.tables.grid import Cell, Grid
from normbench.report.tables.html import html_table
from normbench.report.tables.images import images_grid
from normbench.report.tables.latex import latex
from normbench.report.tables.markdown import markdown, markdown_heading
from normbench.report.tables.precise import precise_grid

__all__ = [
    "Cell",
    "Grid",
    "all_grids",
    "chosen_grid",
    "comparison_grid",
    "contrast_grid",
    "contrasts_csv",
    "cost_grid",
    "csv_text",
    "further_grids",
    "html_table",
    "images_grid",
    "latex",
    "markdown",
    "markdown_heading",
    "paired_seeds",
    "pairs_grid",
    "precise_grid",
    "read_csv",
    "target_grid",
    "tidy",
]


def all_grids(evidence: Evidence) -> list[Grid]:
    """Every table that the data can fill, in the order of the report."""
    if evidence.chosen.empty:
        return []
    grids = [comparison_grid(evidence), *further_grids(evidence), cost_grid(evidence)]
    return [grid for grid in grids if grid.rows]


def further_grids(evidence: Evidence) -> list[Grid]:
    """The tables between the comparison and the costs: each contrast, precise statistics, test images, the rest."""
    if evidence.chosen.empty:
        return []
    grids = [contrast_grid(evidence, index) for index in range(len(evidence.contrasts))]
    further = [precise_grid(evidence), images_grid(evidence), chosen_grid(evidence), target_grid(evidence)]
    return [grid for grid in [*grids, *further] if grid is not None and grid.rows]
