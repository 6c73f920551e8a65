"""Splits: exact, stratified, the same for all seeds."""

import numpy as np
import pytest

from normbench.data.splits import split_counts, split_rows, stratified_split
from normbench.errors import UsageError


@pytest.mark.parametrize("count", [1, 7, 100, 333, 1000, 1799])
def test_a_stratified_split_is_exact_and_keeps_the_shares(count: int) -> None:
    labels = np.random.default_rng(0).choice(10, 1800, p=np.arange(1, 11) / 55).astype(np.uint8)
    rest, chosen = stratified_split(labels, count, seed=3)
    assert len(chosen) == count
    assert sorted([*rest, *chosen]) == list(range(1800))
    quotas = np.bincount(labels) * count / 1800
    assert (np.abs(np.bincount(labels[chosen], minlength=10) - quotas) < 1).all()
    again = stratified_split(labels, count, seed=3)
    assert np.array_equal(chosen, again[1])
    assert (chosen != stratified_split(labels, count, seed=4)[1]).any()


def test_nothing_is_taken_out_for_no_validation() -> None:
    labels = np.arange(30) % 3
    train, held_out = split_rows(labels, 0, 30)
    assert train.tolist() == list(range(30))
    assert held_out.tolist() == []


@pytest.mark.parametrize(
    ("validation", "samples", "expected"),
    [(None, None, (90, 10)), (0, None, (100, 0)), (20, 50, (50, 20)), (0, 100, (100, 0)), (99, 1, (1, 99))],
)
def test_counts(validation: int | None, samples: int | None, expected: tuple[int, int]) -> None:
    assert split_counts("x", 100, 10, validation, samples) == expected


@pytest.mark.parametrize(
    ("validation", "samples", "said"),
    [
        (100, None, "data.validation=100 leaves nothing to train on: x has 100 training images"),
        (None, 91, "data.train_samples=91 is more than the 90 training images of x"),
    ],
)
def test_counts_that_cannot_be(validation: int | None, samples: int | None, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        split_counts("x", 100, 10, validation, samples)
