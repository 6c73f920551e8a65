"""How a metric changes along a numeric axis."""

import numpy as np
import pandas as pd

from normbench.stats.cell import Columns, Missing, cells, column_names, counted_runs, require_free_names


def seed_slopes(
    runs: pd.DataFrame,
    metric: str,
    *,
    axis: str = "batch_size",
    by: Columns = "norm",
    missing: Missing = "diverged",
) -> pd.DataFrame:
    """Least-squares slope of `metric` against log2(`axis`), one for each seed in each cell of `by`.

    The unit is that of the metric per doubling of the axis. A seed shares its noise along the axis, so the
    points of one line are not independent, but the lines of different seeds are. A seed that lacks a value at
    any point of its cell has no slope (NaN): with other points, a curved relation alone would change it.

    Returns:
        The columns `by`, `seed`, `slope`, `points` (values of the axis in the cell), `diverged` (runs).
        `slope_differences` compares the slopes of norms.

    Raises:
        ValueError: `axis` is not positive and numeric, or see `counted_runs`.
    """
    by = column_names(by)
    require_free_names(by, ["slope", "points"])
    counted = counted_runs(runs, [*by, axis], metric, missing=missing)
    if not (pd.api.types.is_numeric_dtype(runs[axis]) and (runs[axis] > 0).all()):
        raise ValueError(f"axis {axis!r} is not positive and numeric throughout: log2 of it is not defined")
    rows = []
    for cell, part in cells(counted, by):
        points = np.sort(part[axis].unique())
        x = np.log2(points.astype(float))
        x = x - x.mean()
        for seed, line in part.groupby("seed"):
            y = line.set_index(axis)["value"].reindex(points).to_numpy()
            slope = float(x @ y / (x @ x)) if len(points) > 1 else np.nan
            diverged = int(line["diverged"].sum())
            rows.append({**cell, "seed": seed, "slope": slope, "points": len(points), "diverged": diverged})
    return pd.DataFrame(rows, columns=[*by, "seed", "slope", "points", "diverged"])
