"""Which test images two norms get right: the sample of images beside the sample of seeds.

Arrays are bool (seeds x images), True where the run of that seed classifies that image rightly; both sides have the
same seeds and images in the same order.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from normbench.stats.cell import require_share
from normbench.stats.divergence import exact_mcnemar


class CrossedInterval(NamedTuple):
    """Interval of a difference of accuracies over new seeds *and* new images, as fractions.

    Attributes:
        diff: Mean of treatment - baseline.
        low: Lower end; NaN for fewer than two seeds, and where the sides are right on the same images.
        high: Upper end.
        se_seeds: Standard error over seeds (what an interval over seeds alone, for these images, has).
        se_images: Standard error over images.
    """

    diff: float
    low: float
    high: float
    se_seeds: float
    se_images: float


def crossed_interval(
    treatment: np.ndarray,
    baseline: np.ndarray,
    *,
    alpha: float = 0.05,
    family: int = 1,
    seeds: float | None = None,
) -> CrossedInterval:
    """Interval of the difference of two accuracies that speaks of other seeds and of other images.

    The differences d[s, i] in {-1, 0, 1} are taken as a two-way random layout, seeds x images, with one value a
    field. With the mean squares of seeds, images and residual, the variance of the mean is
    (MS_s + max(MS_i - MS_e, 0)) / (n m). Each part has the t of its own degrees of freedom, n - 1 and m - 1, and their
    half widths are added in squares, so that the interval is never narrower than that over seeds alone. (One t with
    Satterthwaite's degrees of freedom for the sum errs up to ten times as often as it should at the levels of a large
    family: three seeds that agree by chance then lend the images' thousands of degrees of freedom to their own part.)

    Args:
        treatment: Bool, seeds x images.
        baseline: Bool, of the same shape.
        alpha: Level of the family.
        family: Size of the family (Bonferroni).
        seeds: Half the width of the interval over other seeds, where an error term other than the seeds' own standard
            deviation gave one.

    Raises:
        ValueError: the shapes differ or are not two-dimensional.

    Source: two-way random layouts, Searle, Casella & McCulloch 1992, Variance Components, chapter 4.
    """
    require_share("alpha", alpha)
    d = _difference(treatment, baseline)
    n, m = d.shape
    mean = float(d.mean())
    if n < 2 or m < 2 or not d.any():
        return CrossedInterval(mean, *[np.nan] * 4)
    by_seed, by_image = d.mean(axis=1), d.mean(axis=0)
    ms_seed, ms_image = float(m * by_seed.var(ddof=1)), float(n * by_image.var(ddof=1))
    total = float(((d - mean) ** 2).sum())
    ms_rest = max(total - ms_seed * (n - 1) - ms_image * (m - 1), 0.0) / ((n - 1) * (m - 1))
    se_seeds, se_images = (float(np.sqrt(ms / (n * m))) for ms in (ms_seed, max(ms_image - ms_rest, 0.0)))
    share = 1 - alpha / (2 * family)
    over_seeds = float(stdtrit(n - 1, share)) * se_seeds if seeds is None else seeds
    half = float(np.hypot(over_seeds, float(stdtrit(m - 1, share)) * se_images))
    return CrossedInterval(mean, mean - half, mean + half, se_seeds, se_images)


def mcnemar_by_seed(treatment: np.ndarray, baseline: np.ndarray) -> pd.DataFrame:
    """Exact McNemar test on the test images, within each seed: of these two trained networks, not of their norms.

    Returns:
        One row a seed, in the order given: `only_treatment`, `only_baseline` (images that this side alone gets
        right), `both`, `neither`, `p`.

    Raises:
        ValueError: see `crossed_interval`.
    """
    d, right = _difference(treatment, baseline), np.asarray(treatment, dtype=bool)
    more, fewer = (d > 0).sum(axis=1), (d < 0).sum(axis=1)
    return pd.DataFrame(
        {
            "only_treatment": more,
            "only_baseline": fewer,
            "both": ((d == 0) & right).sum(axis=1),
            "neither": ((d == 0) & ~right).sum(axis=1),
            "p": [exact_mcnemar(int(a), int(b)) for a, b in zip(more, fewer, strict=True)],
        }
    )


def disagreement(treatment: np.ndarray, baseline: np.ndarray) -> np.ndarray:
    """Share of images on which two sides differ, one a seed: of predicted classes, or of correctness (bool).

    Give two seeds of one norm for the scale: norms that disagree no more than their seeds do differ in nothing.

    Raises:
        ValueError: the shapes differ or are not two-dimensional.
    """
    first, second = _same_shape(treatment, baseline)
    return np.asarray((first != second).mean(axis=1))


def disputed_images(treatment: np.ndarray, baseline: np.ndarray) -> pd.DataFrame:
    """The images that one side gets right and the other wrong in some seed, the most one-sided first.

    Returns:
        `image` (its place in the test set), `only_treatment`, `only_baseline` (seeds), `balance`, their difference.

    Raises:
        ValueError: see `crossed_interval`.
    """
    d = _difference(treatment, baseline)
    more, fewer = (d > 0).sum(axis=0), (d < 0).sum(axis=0)
    table = pd.DataFrame(
        {"image": np.arange(d.shape[1]), "only_treatment": more, "only_baseline": fewer, "balance": more - fewer}
    )
    table = table[(more > 0) | (fewer > 0)]
    order = table["balance"].abs().sort_values(ascending=False, kind="stable").index
    return table.loc[order].reset_index(drop=True)


def _difference(treatment: np.ndarray, baseline: np.ndarray) -> np.ndarray:
    first, second = _same_shape(treatment, baseline)
    return first.astype(bool).astype(np.int8) - second.astype(bool).astype(np.int8)


def _same_shape(treatment: np.ndarray, baseline: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    first, second = np.asarray(treatment), np.asarray(baseline)
    if first.ndim != 2 or first.shape != second.shape:
        raise ValueError(
            f"treatment has shape {first.shape}, baseline {second.shape}: give the same seeds x images of both"
        )
    return first, second
