"""Per-seed differences between two levels of a block: the one shape that every contrast is brought into.

The norms of a seed share weights and batches, so that this noise cancels within the seed.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from normbench.stats.cell import cell_places, is_constant, require_free_names

DIFFERENCE_COLUMNS = [
    "contrast",
    "id",
    "along",
    "treatment",
    "baseline",
    "seed",
    "diff",
    "treatment_state",
    "baseline_state",
    "block",
]
STATES = np.array(["not run", "done", "diverged"], dtype=object)


def seed_differences(
    values: pd.DataFrame,
    factor: str,
    sides: Sequence[tuple[Any, Any]],
    across: Sequence[str],
    *,
    contrast: str,
    along: str = "",
) -> pd.DataFrame:
    """The differences of each (treatment, baseline) of `sides`, in each cell of `across`, seed by seed.

    Args:
        values: Columns `across`, `factor`, `seed`, `value` (NaN: none), `diverged`.
        factor: Column of the levels; all levels in a cell are its block.
        sides: Pairs of levels.
        across: Columns that make a cell.
        contrast: Name of the declared contrast.
        along: What a level's value is a change along; "" where it is a level's own.

    Returns:
        One row a seed that either side has, for each pair that either side was run for: `contrast`; `id`, unique
        to contrast, cell and pair; `along`; `across`; `treatment`; `baseline`; `seed`; `diff`, treatment -
        baseline, NaN where a side has no value; `treatment_state`, `baseline_state` ("done", "diverged", "not
        run"); and `block`, the values of all levels of the cell in this seed (a tuple, NaN where there is none), from
        which the error terms take the residual over whatever seeds are left in the frame.

    Raises:
        ValueError: an axis has the name of a column of the result.
    """
    require_free_names(across, DIFFERENCE_COLUMNS)
    columns = ["contrast", "id", "along", *across, *DIFFERENCE_COLUMNS[3:]]
    parts: list[dict[str, Any]] = []
    # Levels and seeds become numbers once for all cells: to make a frame of each cell takes longer than all else.
    level_of, found = pd.factorize(values[factor], use_na_sentinel=False)
    levels = pd.Index(found)
    known = {level: levels.get_loc(level) if level in levels else -1 for level in itertools.chain(*sides)}
    seed_of, every_seed = pd.factorize(values["seed"], sort=True)
    run_values = values["value"].to_numpy(dtype=float)
    run_states = 1 + values["diverged"].astype(int).to_numpy()
    row_of = np.full(len(levels) + 1, -1)  # of a level in its cell; that of no level stays -1
    for cell, places in cell_places(values, across):
        here = pd.unique(level_of[places])
        row_of[here] = np.arange(len(here))
        present, columns_of = np.unique(seed_of[places], return_inverse=True)
        seeds, place = every_seed[present], (row_of[level_of[places]], columns_of)
        value, state = np.full((len(here), len(seeds)), np.nan), np.zeros((len(here), len(seeds)), dtype=int)
        value[place], state[place] = run_values[places], run_states[places]
        state[np.isnan(value) & (state == 1)] = 0  # a derived value that lacks a run: not run, as a whole
        block = [tuple(column) for column in value.T.tolist()]
        for treatment, baseline in sides:
            rows = [row_of[known[level]] for level in (treatment, baseline)]
            if max(rows) < 0:
                continue
            nothing = np.full(len(seeds), np.nan), np.zeros(len(seeds), dtype=int)
            (v1, s1), (v0, s0) = ((value[i], state[i]) if i >= 0 else nothing for i in rows)
            kept, both = (s1 > 0) | (s0 > 0), ~np.isnan(v1 - v0)
            where = "".join(f", {axis}={level!r}" for axis, level in cell.items())
            name = f"{contrast}: {treatment!r} - {baseline!r}{f' along {along}' if along else ''}{where}"
            n = int(kept.sum())
            parts.append(
                {
                    "contrast": [contrast] * n,
                    "id": [name] * n,
                    "along": [along] * n,
                    **{axis: [level] * n for axis, level in cell.items()},
                    "treatment": [treatment] * n,
                    "baseline": [baseline] * n,
                    "seed": seeds[kept].tolist(),
                    "diff": _without_rounding(v1 - v0, np.concatenate([v1[both], v0[both]]))[kept].tolist(),
                    "treatment_state": STATES[s1[kept]].tolist(),
                    "baseline_state": STATES[s0[kept]].tolist(),
                    "block": [block[i] for i in np.flatnonzero(kept)],
                }
            )
        row_of[here] = -1
    return pd.DataFrame({name: [item for part in parts for item in part[name]] for name in columns})


def _without_rounding(differences: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Differences that are equal but for rounding are made equal exactly (unless they are zero, all of them).

    Else t would be the ratio of two rounding errors, and could be huge.
    """
    finite = differences[~np.isnan(differences)]
    if not finite.any() or not is_constant(finite, float(np.abs(values).max())):
        return differences
    return np.where(np.isnan(differences), np.nan, finite.mean())


def family_size(*planned: pd.DataFrame) -> int:
    """Number of contrasts that a study declares, less those it skips: the family of its simultaneous intervals.

    Args:
        planned: The differences of the *planned* runs, one frame a declared contrast. Give the functions of
            `contrasts` a frame with one row a planned run and any finite number as its metric; a cell that the
            study skips has no row there, and its contrasts do not count.

    Returns:
        The number of distinct `id` with a seed in which both sides are planned; at least 1.
    """
    ids = {name for frame in planned for name in frame.loc[frame["diff"].notna(), "id"]}
    return max(1, len(ids))


def family_seen(differences: pd.DataFrame) -> int:
    """Contrasts with at least one pair."""
    return int(differences.loc[differences["diff"].notna(), "id"].nunique())
