"""The error of a paired difference: from its own seeds, pooled over its block, or shrunk between the two.

A block is the levels that were run side by side (k norms in a cell) over the same n seeds. With the residuals
r = x - mean of the level - mean of the seed + mean of the block, the residual mean square is
MS = sum r^2 / ((k - 1) (n - 1)): half the variance of a paired difference, if all levels have the same spread.
"""

from typing import NamedTuple

import numpy as np

from normbench.stats.criterion import ErrorTerm


class Residual(NamedTuple):
    """Residual mean square of a block (NaN where there is none) and the number of its levels."""

    mean_square: float
    levels: int


class Variance(NamedTuple):
    """Estimated variance of one paired difference, and its degrees of freedom."""

    variance: float
    degrees: float


def residual(block: np.ndarray) -> Residual:
    """Residual mean square of a block (levels x seeds, finite).

    Levels with identical values (synchronised batch norm on one device is batch norm) count once: a copy is no
    further observation.
    """
    block = np.unique(block, axis=0)
    k, n = block.shape
    if k < 2 or n < 2:
        return Residual(np.nan, k)
    r = block - block.mean(axis=1, keepdims=True) - block.mean(axis=0, keepdims=True) + block.mean()
    return Residual(float((r**2).sum() / ((k - 1) * (n - 1))), k)


def difference_variance(differences: np.ndarray, block: Residual, error: ErrorTerm) -> Variance:
    """Variance of a paired difference by the error term asked for; the mean's is this over n.

    * "paired": s^2 of the n differences, n - 1 degrees of freedom. Assumes nothing of the other levels.
    * "pooled": 2 MS, (k - 1)(n - 1) degrees of freedom. Wrong where levels differ in spread (simulated
      family-wise error .08 to .34 at a nominal .05).
    * "shrunk": (d0 2 MS + (n - 1) s^2) / (d0 + n - 1) with d0 = (k - 2) / (k - 1), and d0 + n - 1 degrees of
      freedom; with two levels there is nothing to borrow, and it is "paired".

    Args:
        differences: Treatment minus baseline, one a seed, finite; at least two.
        block: `residual` of the block over the same seeds.
        error: One of the above.

    Source: the two-way layout without replication, Scheffé 1959, The Analysis of Variance, chapter 4; the weight d0
    is this project's, held to its level by simulation (`benchmarks/verdicts.py`).
    """
    degrees = len(differences) - 1
    own = float(differences.var(ddof=1)) if np.ptp(differences) else 0.0
    if error == "paired" or block.levels <= 2 or np.isnan(block.mean_square):
        return Variance(own, degrees)
    if error == "pooled":
        return Variance(2 * block.mean_square, (block.levels - 1) * degrees)
    prior = (block.levels - 2) / (block.levels - 1)
    return Variance((prior * 2 * block.mean_square + degrees * own) / (prior + degrees), prior + degrees)
