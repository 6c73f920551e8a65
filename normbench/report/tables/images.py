"""The test images as a table: intervals over seeds and over images, McNemar within the seed, disagreement."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from normbench.report.comparison import contrast_table
from normbench.report.contrasts import like_the_first
from normbench.report.evidence import Evidence
from normbench.report.images import Pair, image_pairs
from normbench.report.tables.grid import Cell, Grid
from normbench.report.words import interval_text
from normbench.stats.images import CrossedInterval, crossed_interval, disagreement, mcnemar_by_seed
from normbench.store.predictions import Predictions
from normbench.study.metrics import METRICS, counted

METRIC = METRICS["test_accuracy"]
ALPHA = 0.05
Array = np.ndarray[Any, Any]


def images_grid(evidence: Evidence) -> Grid | None:
    """The intervals over seeds, and over seeds and images; McNemar within the seed; how often predictions differ."""
    pairs = image_pairs(evidence)
    if not pairs:
        return None
    seeds = {
        (*(row[axis] for axis in evidence.across), row["treatment"]): row
        for contrast in like_the_first(evidence.contrasts)
        for row in contrast_table(evidence, contrast, METRIC).to_dict("records")
    }
    rows = []
    for pair in pairs:
        place = (*(pair.row[axis] for axis in evidence.across), pair.row[evidence.factor])
        row = seeds.get(place)
        if (looked_at := _looked_at(evidence, pair, row)).seeds:
            rows.append((evidence.row_name(pair.row), _cells(looked_at, row)))
    if not rows:
        return None
    baseline, images = evidence.level_name(evidence.baseline), pairs[0].baseline.correct.shape[1]
    columns = [
        "seeds",
        f"difference ({METRIC.difference_unit})",
        "other seeds",
        "other seeds and images",
        f"McNemar p < {ALPHA:g}",
        "predict otherwise (%)",
        f"two seeds of {baseline} do (%)",
    ]
    note = (
        f"Difference in {METRIC.label} from {baseline} over the seeds that kept their predictions, on the {images:,} "
        f"test images. Population of the interval over other seeds (as among the contrasts): further trainings, "
        f"tested on these very images. Population of the one over other seeds and images: further trainings, tested "
        f"on further images such as these; it is the former, wider by what the images add. "
        f"Both hold for {_families(evidence)} at once; where a seed lost its predictions, the second is not told. "
        f"McNemar's exact test, without correction, compares the two trained networks of one seed: it says nothing "
        f"of another seed. The last two columns: share of images given another class than by {baseline}, and by "
        f"another seed of {baseline}, the scale for it."
    )
    return Grid("Test images", columns, rows, note)


def _families(evidence: Evidence) -> str:
    """The families of the compared levels, in words: one, unless a contrast on other cells names its own."""
    sizes = {contrast.family: evidence.families[contrast.family] for contrast in like_the_first(evidence.contrasts)}
    if len(sizes) == 1:
        return f"the study's whole family ({counted([evidence.family], 'comparison')})"
    told = ", ".join(f"{name}: {counted([size], 'comparison')}" for name, size in sizes.items())
    return f"the whole family of their contrast ({told})"


def _looked_at(evidence: Evidence, pair: Pair, estimate: dict[Any, Any] | None) -> Pair:
    """The pair on the seeds that the row's verdict is of: with planned looks, those of the look that decided it."""
    if evidence.study.looks is None or estimate is None or not estimate["look"]:
        return pair
    seeds = evidence.study.seeds_at(estimate["look"])
    kept = [place for place, seed in enumerate(pair.seeds) if seed in seeds]
    sides = [Predictions(side.classes[kept], side.correct[kept]) for side in (pair.treatment, pair.baseline)]
    return Pair(pair.row, pair.run_id, tuple(pair.seeds[place] for place in kept), sides[0], sides[1])


def _cells(pair: Pair, estimate: dict[Any, Any] | None) -> list[Cell]:
    right = pair.treatment.correct, pair.baseline.correct
    crossed = _crossed(*right, estimate)
    tests = mcnemar_by_seed(*right)
    few = int((tests["p"] < ALPHA).sum())
    other = float(disagreement(pair.treatment.classes, pair.baseline.classes).mean())
    return [
        Cell(str(len(pair.seeds)), value=float(len(pair.seeds))),
        Cell(METRIC.shown_number(crossed.diff), value=crossed.diff),
        _interval(estimate),
        _interval(crossed._asdict()),
        Cell(f"{few} of {len(tests)} seeds", value=few / len(tests)),
        Cell(f"{100 * other:.2f}", value=other),
        _between_seeds(pair.baseline.classes),
    ]


def _crossed(treatment: Array, baseline: Array, estimate: dict[Any, Any] | None) -> CrossedInterval:
    """The row's interval over seeds, wider by what the images add.

    Without one where the row has none (yet), or where a seed of it lost its predictions: that of the other seeds could
    be narrower than the row's own.
    """
    if estimate is None or pd.isna(estimate["low"]) or int(estimate["pairs"]) != len(treatment):
        return CrossedInterval(float(treatment.mean() - baseline.mean()), *[np.nan] * 4)
    half, alpha, family = (estimate["high"] - estimate["low"]) / 2, float(estimate["alpha"]), int(estimate["family"])
    return crossed_interval(treatment, baseline, alpha=alpha, family=family, seeds=half)


def _interval(row: dict[Any, Any] | None) -> Cell:
    """The ends, sorted by the lower one."""
    if row is None or pd.isna(row["low"]):
        return Cell("—")
    return Cell(interval_text(row, METRIC, "levels"), value=float(row["low"]))


def _between_seeds(classes: Array) -> Cell:
    couples = list(combinations(range(len(classes)), 2))
    if not couples:
        return Cell("—")
    first, second = (classes[[couple[side] for couple in couples]] for side in (0, 1))
    share = float(disagreement(first, second).mean())
    return Cell(f"{100 * share:.2f}", value=share)
