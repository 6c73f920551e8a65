"""The verdict of a contrast, read off its one simultaneous interval."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from normbench.stats.cell import counted_noun
from normbench.stats.criterion import Criterion
from normbench.stats.divergence import Divergence

Verdict = Literal[
    "better",
    "worse",
    "better by less than the margin",
    "worse by less than the margin",
    "equivalent",
    "identical",
    "diverged",
    "baseline diverged",
    "open",
]


def verdict(low: float, high: float, identical: bool, diverged: Divergence, criterion: Criterion) -> Verdict:
    """What a contrast comes to.

    * The interval excludes 0: "better" or "worse"; lies within +- margin: "equivalent"; both: "better" (or "worse")
      "by less than the margin"; neither, or no interval: "open".
    * "identical": the difference is exactly zero in every seed.
    * "diverged": the treatment diverged in a seed where the baseline did not, and is not "worse" anyhow: what the
      survivors say can make it neither better nor equivalent. "baseline diverged": the converse.

    Args:
        low: Lower end of the interval, in the metric's unit; NaN without one.
        high: Upper end.
        identical: Whether every difference is exactly zero.
        diverged: Of both sides.
        criterion: Direction and margin.
    """
    of_survivors = _of_survivors(low, high, identical, criterion)
    if diverged.only_treatment and of_survivors != "worse":
        return "diverged"
    if diverged.only_treatment and diverged.only_baseline:
        return "diverged"
    if diverged.only_baseline and of_survivors != "better":
        return "baseline diverged"
    return of_survivors


def _of_survivors(low: float, high: float, identical: bool, criterion: Criterion) -> Verdict:
    if identical:
        return "identical"
    if np.isnan(low) or np.isnan(high):
        return "open"
    inside = criterion.margin is not None and -criterion.margin < low and high < criterion.margin
    if low > 0 or high < 0:
        if (low > 0) == criterion.higher_is_better:
            return "better by less than the margin" if inside else "better"
        return "worse by less than the margin" if inside else "worse"
    return "equivalent" if inside else "open"


def verdict_text(row: Mapping[Any, Any], margin: str = "the margin") -> str:
    """The verdict of a row of `estimates` in words, with its counts: "diverged in 2 of 5".

    Args:
        row: Row of `estimates`.
        margin: The margin with its unit, e.g. "0.5 points".
    """
    word, seeds = row["verdict"], counted_noun(int(row["pairs"]), "seed")
    diverged, runs = f"diverged_{_side(word)}", f"runs_{_side(word)}"
    words = {
        "diverged": f"diverged in {row.get(diverged)} of {row.get(runs)}",
        "baseline diverged": f"baseline diverged in {row.get(diverged)} of {row.get(runs)}",
        "identical": f"identical in all {seeds}",
        "equivalent": f"equivalent within {margin}",
        "open": f"open with {seeds}" if row["pairs"] else "open: no pair has two values",
    }
    return words.get(word, str(word).replace("the margin", margin))


def _side(word: str) -> str:
    """Which side of a comparison a verdict of divergence speaks of."""
    return "baseline" if word == "baseline diverged" else "treatment"
