"""The test images as a sample of their own: which of them two levels get right, seed by seed.

Runs that kept no predictions (diverged, pulled, or older) are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from normbench.report.evidence import Evidence
from normbench.store.predictions import Predictions, read_predictions

MOST_RUNS = 2000  # runs whose predictions are read: 40 MB of them


@dataclass(frozen=True, eq=False)
class Pair:
    """A level beside the baseline in one cell, over the seeds of which both have predictions.

    Args:
        row: The cell: the other axes and the factor.
        run_id: One of its runs.
        seeds: The seeds.
        treatment: Classes and correctness of the level, (seeds, images).
        baseline: The same of the baseline.
    """

    row: dict[Any, Any]
    run_id: str
    seeds: tuple[int, ...]
    treatment: Predictions
    baseline: Predictions


@lru_cache(maxsize=1)  # tables and page are made from the same ones
def image_pairs(evidence: Evidence) -> list[Pair]:
    """Every level against the baseline in every cell, where a seed has predictions of both."""
    runs = evidence.chosen
    if runs.empty or len(runs) > MOST_RUNS:
        return []
    found: dict[tuple[Any, ...], Predictions] = {}
    names: dict[tuple[Any, ...], str] = {}
    for row in runs[[*evidence.keys, "seed", "run_id"]].to_dict("records"):
        said = read_predictions(evidence.store.folder(row["run_id"]).path)
        if said is not None:
            place = (*(row[axis] for axis in evidence.across), row[evidence.factor], row["seed"])
            found[place], names[place] = said, row["run_id"]
    pairs = []
    for row in evidence.in_order(runs[evidence.keys].drop_duplicates()).to_dict("records"):
        cell, level = tuple(row[axis] for axis in evidence.across), row[evidence.factor]
        if level == evidence.baseline:
            continue
        places = [place for place in found if place[:-1] == (*cell, level)]
        both = [(p, b) for p in sorted(places) if (b := (*cell, evidence.baseline, p[-1])) in found]
        if both and len({len(found[place].classes) for pair in both for place in pair}) == 1:
            sides = [_stacked([found[pair[side]] for pair in both]) for side in (0, 1)]
            pairs.append(Pair(row, names[both[0][0]], tuple(int(p[-1]) for p, _ in both), sides[0], sides[1]))
    return pairs


def _stacked(said: list[Predictions]) -> Predictions:
    return Predictions(np.stack([one.classes for one in said]), np.stack([one.correct for one in said]))
