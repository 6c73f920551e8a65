"""The value of a tuned setting: chosen on a validation metric, over the seeds that its candidates share."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from normbench.stats.cell import (
    Columns,
    cell_key,
    cell_places,
    cells,
    column_names,
    counted_runs,
    levels_of,
    require_columns,
    require_free_names,
)

Table = dict[int, tuple[float, bool]]  # value and divergence of a candidate, by unit
CHOICE_COLUMNS = ["candidates", "at_edge", "seeds", "select_mean", "complete"]


def chosen_values(
    runs: pd.DataFrame,
    tuned: str,
    by: Columns,
    select: str,
    *,
    over: Columns = (),
    higher_is_better: bool = True,
    planned: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """The value of `tuned` with the best mean of `select` in each cell of `by`.

    Candidates are compared on the seeds that they share. One with half of the seeds of the fullest or less is not
    compared at all: in a half-finished study one lucky seed cannot beat five. A candidate with more diverged runs
    comes behind all with fewer, since the mean of survivors would reward a rate that makes half of the runs diverge.
    Equal means: the smaller value of `tuned`.

    Args:
        runs: One row a run.
        tuned: The axis to choose on, e.g. "learning_rate".
        by: The axes that make a cell, e.g. ["norm", "batch_size"] for each norm's own rate; [] for one rate that all
            share.
        select: The validation metric; never the one that is reported.
        over: The axes within a cell, e.g. ["norm", "batch_size"] for a shared rate; what is shared is then a seed
            in a cell of them, and each weighs the same.
        higher_is_better: Direction of `select`.
        planned: One row a declared candidate (columns `by`, `tuned`; more do no harm), which has the edges of the
            grid; None: the candidates of `runs`.

    Returns:
        One row a cell: `by`; `tuned`, the choice; `candidates`, how many are declared; `at_edge`, whether the choice
        is the smallest or the largest of them, so that a better one may lie outside; `seeds`, on how many (seed,
        cell of `over`) it was compared; `select_mean`, the mean that won; `complete`, whether all declared
        candidates had the same seeds: else the choice may still change.

    Raises:
        ValueError: see `counted_runs`.
    """
    by, over = column_names(by), column_names(over)
    require_free_names([*by, tuned], CHOICE_COLUMNS)
    planned = runs if planned is None else planned
    require_columns(planned, [*by, tuned], "planned")
    declared = {cell_key(cell): levels_of(part, tuned) for cell, part in cells(planned, by)}
    sign = 1 if higher_is_better else -1
    rows = []
    counted = counted_runs(runs, [*by, *over, tuned], select)
    unit = counted.groupby([*over, "seed"], dropna=False, observed=True).ngroup().to_numpy()
    rank = counted.groupby(tuned, observed=True).ngroup().to_numpy()
    candidate, value_of, diverged = (counted[name].to_numpy() for name in (tuned, "value", "diverged"))
    for cell, places in cell_places(counted, by):
        tables: dict[Any, Table] = {}
        for place in places[np.argsort(rank[places], kind="stable")]:
            tables.setdefault(candidate[place], {})[unit[place]] = (value_of[place], diverged[place])
        tried = declared.get(cell_key(cell)) or list(tables)
        value, seeds, mean = _best(tables, sign)
        units = {frozenset(table) for table in tables.values()}
        rows.append(
            {
                **cell,
                tuned: value,
                "candidates": len(tried),
                "at_edge": value in (tried[0], tried[-1]),
                "seeds": seeds,
                "select_mean": mean,
                "complete": len(units) == 1 and len(tables) >= len(tried),
            }
        )
    return pd.DataFrame(rows, columns=[*by, tuned, *CHOICE_COLUMNS])


def _best(tables: dict[Any, Table], sign: int) -> tuple[Any, int, float]:
    """(value, seeds compared on, mean): the fewest diverged of the shared seeds, then the best mean over them."""
    most = max(map(len, tables.values()))
    full, shared = _on_shared({value: table for value, table in tables.items() if 2 * len(table) > most})
    shares = {value: sum(gone for _, gone in table.values()) / len(table) for value, table in full.items()}
    fewest = {
        value: {unit: pair for unit, pair in table.items() if not np.isnan(pair[0])}
        for value, table in full.items()
        if shares[value] == min(shares.values())
    }
    means = {
        value: float(np.sort([number for number, _ in table.values()]).mean()) if table else np.nan
        for value, table in _on_shared(fewest)[0].items()
    }
    best = max(means, key=lambda value: float("-inf") if np.isnan(means[value]) else sign * means[value])
    return best, shared, means[best]


def _on_shared(tables: dict[Any, Table]) -> tuple[dict[Any, Table], int]:
    """The tables on the units that all of them have, and how many these are; where there is none, as they are."""
    common = set.intersection(*map(set, tables.values()))
    if not common:
        return tables, 0
    return {value: {unit: table[unit] for unit in common} for value, table in tables.items()}, len(common)


def chosen_runs(runs: pd.DataFrame, choice: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """The rows of `runs` at the choice of their cell, to summarize or to compare: all seeds, not only the shared ones.

    Args:
        runs: One row a run.
        choice: Of `chosen_values`.
        keys: The columns that both share: those of the cells, and the tuned one.
    """
    columns = list(keys)
    kept = pd.MultiIndex.from_frame(choice[columns].astype(object))
    found = pd.MultiIndex.from_frame(runs[columns].astype(object)).isin(kept)
    return runs[found].reset_index(drop=True)
