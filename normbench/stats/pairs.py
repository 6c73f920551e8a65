"""Differences within the seed: the norms of a seed share weights and batches, so that this noise cancels."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from normbench.stats.cell import cells, is_constant

PAIR_COLUMNS = ["treatment", "baseline", "pairs", "left_out", "diverged", "diff", "sd_diff"]


def paired_differences(
    counted: pd.DataFrame, factor: str, sides: Sequence[tuple[Any, Any]], across: Sequence[str] = ()
) -> pd.DataFrame:
    """The differences of each (treatment, baseline) of `sides`, in each cell of `across`.

    `counted` is that of `counted_runs`. Returns the columns `across`, those of `compare_to_baseline` up to
    `sd_diff`, and `differences`: one array a row, in the order of the seeds. A row for which neither side was
    run is left away.
    """
    rows = []
    for cell, part in cells(counted, across):
        seeds = pd.Index(part["seed"].unique()).sort_values()
        levels = pd.Index(part[factor].unique())
        place = seeds.get_indexer(part["seed"]), levels.get_indexer(part[factor])
        value = np.full((len(seeds), len(levels)), np.nan)
        ran, diverged = np.zeros_like(value, dtype=bool), np.zeros_like(value, dtype=bool)
        value[place], ran[place], diverged[place] = part["value"], True, part["diverged"]
        for treatment, baseline in sides:
            both = [levels.get_loc(level) for level in (treatment, baseline) if level in levels]
            if not both:
                continue
            pairs = value[:, both] if len(both) == 2 else np.empty((0, 2))
            differences = _differences(pairs[~np.isnan(pairs).any(axis=1)])
            n = len(differences)
            rows.append(
                {
                    **cell,
                    "treatment": treatment,
                    "baseline": baseline,
                    "pairs": n,
                    "left_out": int(ran[:, both].any(axis=1).sum()) - n,
                    "diverged": int(diverged[:, both].any(axis=1).sum()),
                    "diff": differences.mean() if n else np.nan,
                    "sd_diff": np.nan if n < 2 else differences.std(ddof=1) if np.ptp(differences) else 0.0,
                    "differences": differences,
                }
            )
    return pd.DataFrame(rows, columns=[*across, *PAIR_COLUMNS, "differences"])


def _differences(pairs: np.ndarray) -> np.ndarray:
    """Treatment - baseline; those that are equal but for rounding are made equal, and zero, exactly.

    Else t would be the ratio of two rounding errors, and could be huge.
    """
    differences = pairs[:, 0] - pairs[:, 1]
    scale = np.abs(pairs).max(initial=0.0)
    if len(pairs) == 0 or not is_constant(differences, scale):
        return differences
    zero = is_constant(np.append(differences, 0.0), scale)
    return np.full(len(pairs), 0.0 if zero else differences[0])
