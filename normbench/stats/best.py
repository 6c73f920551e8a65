"""What may be called the best: of several means in a table, and of the values of a tuned setting."""

from itertools import combinations

import numpy as np
import pandas as pd

from normbench.stats.cell import Columns, cells, column_names, counted_runs, levels_of, require_columns
from normbench.stats.comparison import DEFAULT_CRITERION, Criterion, tested
from normbench.stats.pairs import paired_differences
from normbench.stats.summary import summarize


def mark_best(
    runs: pd.DataFrame,
    metric: str,
    factor: str,
    *,
    across: Columns = (),
    criterion: Criterion = DEFAULT_CRITERION,
) -> pd.DataFrame:
    """Which levels of `factor` may be shown as the best, in each cell of `across` (a column of a table).

    Every level is compared with the one of the best mean, paired by seed. The p are corrected (Holm) over all
    pairs of levels of the cell, not only over those with the best: the best was chosen by the same data, and
    only the larger family covers that choice. Corrected over the four comparisons with the best alone, five
    equal norms over five seeds are told apart in 7 % of simulated studies instead of at most 5 %.

    Arguments and errors are those of `compare_to_baseline`.

    Returns:
        One row for each level in each cell: `across`, `factor`, `n_used`, `mean`, `p_holm` against the best
        (NaN for the best itself, and where there are fewer than two pairs), and `mark`:

        * "best": the best mean, told apart from every other; at most one in a cell.
        * "tied": the best mean, or one not told apart from it, where there are several.
        * "": told apart from the best; without a mean; or alone in its cell.
    """
    across = column_names(across)
    levels = levels_of(runs, factor)
    sides = [(second, first) for first, second in combinations(levels, 2)]
    rows: list[dict[str, object]] = []
    for cell, part in cells(counted_runs(runs, [*across, factor], metric, criterion.chance), across):
        values = {level_cell[factor]: group["value"].dropna() for level_cell, group in cells(part, [factor])}
        means = {level: np.sort(group).mean() for level, group in values.items() if len(group)}
        best = (max if criterion.higher_is_better else min)(means, key=lambda level: means[level], default=None)
        p_holm, behind = {}, set()
        for row in tested(paired_differences(part, factor, sides), criterion).to_dict("records"):
            if best in (row["treatment"], row["baseline"]):
                other = row["baseline"] if row["treatment"] == best else row["treatment"]
                p_holm[other] = row["p_holm"]
                # Where seeds are missing, the pairs can contradict the means: then nothing is told apart.
                best_is_higher = (row["diff"] > 0) == (row["treatment"] == best)
                if row["p_holm"] <= criterion.alpha and best_is_higher == criterion.higher_is_better:
                    behind.add(other)
        top = [level for level in means if level not in behind]
        mark = "best" if len(top) == 1 else "tied"
        rows += [
            {
                **cell,
                factor: level,
                "n_used": len(group),
                "mean": means.get(level, np.nan),
                "p_holm": p_holm.get(level, np.nan),
                "mark": mark if level in top and len(means) > 1 else "",
            }
            for level, group in values.items()
        ]
    return pd.DataFrame(rows, columns=[*across, factor, "n_used", "mean", "p_holm", "mark"])


def best_runs(
    runs: pd.DataFrame,
    tuned: str,
    by: Columns,
    select: str,
    *,
    higher_is_better: bool = True,
    chance: float | None = None,
) -> pd.DataFrame:
    """The rows of `runs` at the best value of `tuned` in each cell of `by`, to summarize or to compare.

    The best value has the best mean of `select` over its seeds. A run without a value of `select` (diverged,
    and no `chance` given) puts its candidate behind all that have a larger share of values: the mean of the
    survivors would reward a learning rate that makes half of the runs diverge. Equal means: the smaller value
    of `tuned`.

    Args:
        runs: One row a run.
        tuned: The axis to choose on, e.g. "learning_rate".
        by: The axes that make a cell, e.g. ["norm", "batch_size"].
        select: The validation metric; never the one that is reported.
        higher_is_better: Direction of `select`.
        chance: Value of `select` with which a diverged run counts.

    Raises:
        ValueError: see `counted_runs`.
    """
    by = column_names(by)
    runs = runs.reset_index(drop=True)
    chosen: list[int] = []
    for _, part in cells(counted_runs(runs, [*by, tuned], select, chance), by):
        candidates = [
            (group["value"].notna().mean(), np.sort(group["value"].dropna()), group.index)
            for _, group in cells(part, [tuned])
        ]
        sign = 1 if higher_is_better else -1
        best = max(candidates, key=lambda c: (c[0], sign * c[1].mean() if len(c[1]) else -np.inf))
        chosen += best[2].tolist()
    return runs.loc[sorted(chosen)].reset_index(drop=True)


def best_over(
    runs: pd.DataFrame,
    tuned: str,
    by: Columns,
    *,
    select: str,
    report: str,
    higher_is_better: bool = True,
    chance: float | None = None,
) -> pd.DataFrame:
    """The best value of `tuned` in each cell of `by`, chosen on `select` and reported on `report`.

    To choose on validation and to report on test keeps the report free of the optimism of the choice.
    `best_runs` describes the choice and the arguments; `chance` is that of both metrics, which are of one
    kind (two accuracies, two losses).

    Returns:
        One row a cell: the columns `by`; `tuned`, the chosen value; `candidates`, how many values were tried;
        `at_edge`, whether the chosen one is the smallest or the largest of them, so that a better one may lie
        outside; `select_mean`, the mean that won; then `n`, `n_used`, ... of `summarize` for `report`.

    Raises:
        ValueError: `select` is `report`; or see `counted_runs`.
    """
    if select == report:
        raise ValueError(f"select and report are both {select!r}: choose on a validation metric, report on test")
    by = column_names(by)
    require_columns(runs, [report])
    winners = best_runs(runs, tuned, by, select, higher_is_better=higher_is_better, chance=chance)
    summary = summarize(winners, [*by, tuned], report, chance=chance)
    tried = [levels_of(part, tuned) for _, part in cells(runs, by)]
    summary.insert(len(by) + 1, "candidates", [len(values) for values in tried])
    at_edge = [value in (values[0], values[-1]) for value, values in zip(summary[tuned], tried, strict=True)]
    summary.insert(len(by) + 2, "at_edge", at_edge)
    selected = summarize(winners, [*by, tuned], select, chance=chance)
    summary.insert(len(by) + 3, "select_mean", selected["mean"])
    return summary
