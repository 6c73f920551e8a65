"""What a cell costs, as `normbench cost` measured it: each cell alone on the machine, in turns with the baseline."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from normbench.report.evidence import Evidence

FILE = "cost.csv"
COLUMNS = ("ratio", "low", "high", "rounds", "samples_per_second")
NOT_MEASURED = "not measured"


def read_cost(folder: Path) -> pd.DataFrame | None:
    """cost.csv of a report's folder; None where it was not measured, or the file is not one."""
    from normbench.report.tables import read_csv

    try:
        table = read_csv(folder / FILE)
    except (OSError, ValueError):
        return None
    return table if {"ratio", "low", "high"} <= set(table) else None


def measured_cells(evidence: Evidence) -> pd.DataFrame | None:
    """A row a measured cell: the columns of the cell as in the results, and COLUMNS; None where there is none.

    Labels are compared as text, since a file has no types. A file of other axes is of an earlier study.
    """
    table = evidence.measured_cost
    if table is None or evidence.chosen.empty or not set(evidence.keys) <= set(table):
        return None
    cells = evidence.chosen[evidence.keys].drop_duplicates()
    by = {tuple(map(str, row)): place for place, row in enumerate(table[evidence.keys].to_numpy(dtype=object))}
    places = [by.get(tuple(map(str, row)), -1) for row in cells.to_numpy(dtype=object)]
    found = table.reindex(columns=list(COLUMNS)).reindex(places).reset_index(drop=True)
    cells = pd.concat([cells.reset_index(drop=True), found.astype(float)], axis=1).dropna(subset=["ratio"])
    return None if cells.empty else evidence.in_order(cells)
