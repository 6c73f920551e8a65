"""The value of a tuned setting: chosen on a validation metric, over the seeds that its candidates share."""

from typing import Any

import numpy as np
import pandas as pd

from normbench.stats.cell import (
    Columns,
    cell_key,
    cells,
    column_names,
    counted_runs,
    levels_of,
    require_columns,
    require_free_names,
)
from normbench.stats.summary import summarize

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
    for cell, part in cells(counted_runs(runs, [*by, *over, tuned], select), by):
        tables = {
            found[tuned]: group.set_index([*over, "seed"])[["value", "diverged"]]
            for found, group in cells(part, [tuned])
        }
        tried = declared.get(cell_key(cell)) or list(tables)
        value, seeds, mean = _best(tables, sign)
        units = {frozenset(table.index) for table in tables.values()}
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


def _best(tables: dict[Any, pd.DataFrame], sign: int) -> tuple[Any, int, float]:
    """(value, seeds compared on, mean): the fewest diverged of the shared seeds, then the best mean over them."""
    most = max(map(len, tables.values()))
    full = {value: table for value, table in tables.items() if 2 * len(table) > most}
    shared = _intersection(list(full.values()))
    if len(shared):
        full = {value: table.loc[shared] for value, table in full.items()}
    shares = {value: table["diverged"].mean() for value, table in full.items()}
    fewest = {value: table.dropna() for value, table in full.items() if shares[value] == min(shares.values())}
    survived = _intersection(list(fewest.values()))
    if len(survived):
        fewest = {value: table.loc[survived] for value, table in fewest.items()}
    means = {value: float(table["value"].sort_values().mean()) for value, table in fewest.items()}
    best = max(means, key=lambda value: float("-inf") if np.isnan(means[value]) else sign * means[value])
    return best, len(shared), means[best]


def _intersection(tables: list[pd.DataFrame]) -> pd.Index:
    common = tables[0].index
    for table in tables[1:]:
        common = common.intersection(table.index)
    return common.sort_values()


def best_runs(
    runs: pd.DataFrame,
    tuned: str,
    by: Columns,
    select: str,
    *,
    over: Columns = (),
    higher_is_better: bool = True,
    planned: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """The rows of `runs` at the value of `tuned` that `chosen_values` gives, to summarize or to compare.

    Arguments and errors are those of `chosen_values`. All seeds of the choice are returned, not only the shared ones.
    """
    by = column_names(by)
    choice = chosen_values(runs, tuned, by, select, over=over, higher_is_better=higher_is_better, planned=planned)
    chosen = {cell_key(cell): part[tuned].iloc[0] for cell, part in cells(choice, by)}
    runs = runs.reset_index(drop=True)
    rows: list[int] = []
    for cell, part in cells(runs, by):
        rows += part.index[part[tuned] == chosen[cell_key(cell)]].tolist()
    return runs.loc[sorted(rows)].reset_index(drop=True)


def best_over(
    runs: pd.DataFrame,
    tuned: str,
    by: Columns,
    *,
    select: str,
    report: str,
    higher_is_better: bool = True,
    planned: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """The best value of `tuned` in each cell of `by`, chosen on `select` and reported on `report`.

    To choose on validation and to report on test keeps the report free of the optimism of the choice.

    Returns:
        One row a cell: those of `chosen_values`, then `n`, `n_used`, ... of `summarize` for `report`.

    Raises:
        ValueError: `select` is `report`; or see `counted_runs`.
    """
    if select == report:
        raise ValueError(f"select and report are both {select!r}: choose on a validation metric, report on test")
    by = column_names(by)
    require_columns(runs, [report])
    choice = chosen_values(runs, tuned, by, select, higher_is_better=higher_is_better, planned=planned)
    winners = best_runs(runs, tuned, by, select, higher_is_better=higher_is_better, planned=planned)
    summary = summarize(winners, [*by, tuned], report).drop(columns=tuned)
    if not by:
        return pd.concat([choice, summary], axis=1)
    return choice.merge(summary, on=by, how="left")
