"""Which training images are trained on and which validate: stratified, and the same for all seeds. No torch here."""

from __future__ import annotations

import numpy as np

from normbench.errors import UsageError

SPLIT_SEED = 2018  # one validation split for all runs, whatever their seed


def stratified_split(labels: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices (rest, chosen), each sorted, with `count` chosen so that every class keeps its share.

    Shares are rounded by largest remainder, so that the total is exact.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    sizes = np.bincount(labels)
    quotas = sizes * count / len(labels)
    takes = np.floor(quotas).astype(int)
    takes[np.argsort(takes - quotas, kind="stable")[: count - takes.sum()]] += 1
    chosen = np.sort(np.concatenate([rng.permutation(np.flatnonzero(labels == c))[:t] for c, t in enumerate(takes)]))
    return np.setdiff1d(np.arange(len(labels)), chosen, assume_unique=True), chosen


def split_counts(name: str, total: int, own: int, validation: int | None, samples: int | None) -> tuple[int, int]:
    """Images of the training and of the validation split, or a UsageError for numbers that cannot be.

    Args:
        name: Data set.
        total: Its images before validation is taken out.
        own: Its own number of validation images.
        validation: data.validation; None takes `own`.
        samples: data.train_samples; None takes all.
    """
    taken = own if validation is None else validation
    if taken >= total:
        raise UsageError(f"data.validation={taken} leaves nothing to train on: {name} has {total:,} training images")
    left = total - taken
    if samples is not None and samples > left:
        raise UsageError(f"data.train_samples={samples} is more than the {left:,} training images of {name}")
    return (left if samples is None else samples), taken


def split_rows(labels: np.ndarray, validation: int, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows to train on and rows to validate on.

    Args:
        labels: Labels of all images before validation is taken out, (N,).
        validation: Images taken out.
        samples: Images kept of the rest; all of them, or a stratified subset.
    """
    train, held_out = stratified_split(labels, validation, SPLIT_SEED)
    if samples < len(train):
        _, kept = stratified_split(labels[train], samples, SPLIT_SEED + 1)
        train = train[kept]
    return train, held_out
