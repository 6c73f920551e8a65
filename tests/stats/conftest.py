"""A small paired study with known effects, as every test of the statistics needs one."""

from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from normbench.stats.cell import column_names, counted_runs, levels_of
from normbench.stats.differences import seed_differences

Study = Callable[..., pd.DataFrame]


def _study(
    effects: dict[str, float],
    seeds: Sequence[int] = range(5),
    batch_sizes: Sequence[int] = (16,),
    sd: float = 0.002,
    draw: int = 0,
) -> pd.DataFrame:
    """Accuracies 0.9 + effect + noise that a seed shares + noise of the run; one row a run, sorted."""
    rng = np.random.default_rng(draw)
    rows = []
    for batch_size in batch_sizes:
        shared = rng.normal(0, 0.01, len(seeds))
        for norm, effect in effects.items():
            accuracy = 0.9 + effect + shared + rng.normal(0, sd, len(seeds))
            rows += [
                {"norm": norm, "batch_size": batch_size, "seed": seed, "test_accuracy": value}
                for seed, value in zip(seeds, accuracy, strict=True)
            ]
    return pd.DataFrame(rows).assign(diverged_at_step=np.nan)


@pytest.fixture
def study() -> Study:
    return _study


def pair_differences(runs: pd.DataFrame, metric: str, factor: str, across: str = "") -> pd.DataFrame:
    """Every pair of levels in each cell, as `mark_best` compares them; the level that sorts first is the baseline."""
    cell = column_names(across or ())
    sides = [(second, first) for first, second in combinations(levels_of(runs, factor), 2)]
    return seed_differences(counted_runs(runs, [*cell, factor], metric), factor, sides, cell, contrast="pairs")
