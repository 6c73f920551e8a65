from itertools import product

import numpy as np
import pytest
from scipy import stats

from normbench.stats import seeds_for_exact, sign_flip, wilcoxon_exact

pytestmark = pytest.mark.filterwarnings("error")


def enumerated(scores):
    """Two-sided p over all sign patterns, one at a time."""
    scores = np.asarray(scores)
    sums = [abs(np.dot(signs, np.abs(scores))) for signs in product((-1, 1), repeat=len(scores))]
    return np.mean(np.array(sums) >= abs(scores.sum()) - 1e-9)


@pytest.mark.parametrize("n", [6, 9, 13])
@pytest.mark.parametrize("shift", [0.0, 0.5, 3.0])
def test_agree_with_scipy(n, shift):
    differences = np.random.default_rng(n).normal(shift, 1, n)
    assert wilcoxon_exact(differences).p == pytest.approx(stats.wilcoxon(differences, method="exact").pvalue, rel=1e-12)
    by_permutation = stats.permutation_test(
        (differences, np.zeros(n)),
        lambda a, b, axis: (a - b).mean(axis=axis),
        permutation_type="samples",
        n_resamples=np.inf,
        vectorized=True,
    )
    assert sign_flip(differences).p == pytest.approx(by_permutation.pvalue, rel=1e-12)


def test_ties_and_zeros_stay_exact():
    # On paper -3, 1, 1, -1, 2, 3, 0, 2: as differences of accuracies they differ in the last bits.
    differences = np.array([0.90, 0.91, 0.81, 0.70, 0.62, 0.53, 0.5, 0.42]) - np.array(
        [0.93, 0.90, 0.80, 0.71, 0.60, 0.50, 0.5, 0.40]
    )
    assert wilcoxon_exact(differences).p == pytest.approx(enumerated([-7.5, 3, 3, -3, 5.5, 7.5, 5.5]))
    assert sign_flip(differences).p == pytest.approx(enumerated([-3, 1, 1, -1, 2, 3, 2]))
    assert sign_flip(differences).pairs == wilcoxon_exact(differences).pairs == 7


@pytest.mark.parametrize("draw", range(10))
@pytest.mark.parametrize("test", [sign_flip, wilcoxon_exact])
def test_accuracies_tie_like_the_counts_they_are(test, draw):
    rng = np.random.default_rng(draw)
    baseline, gain = rng.integers(100, 900, 9), rng.integers(-3, 4, 9)
    differences = (baseline + gain) / 997 - baseline / 997
    assert test(differences, alpha=0.5) == test(gain, alpha=0.5)


@pytest.mark.parametrize("test", [sign_flip, wilcoxon_exact])
def test_refuses_where_p_could_never_be_small(test):
    refused = test(np.arange(1.0, 7.0), comparisons=10)
    assert np.isnan(refused.p)
    assert (refused.pairs, refused.smallest_p) == (6, 2 / 2**6)
    assert refused.reason == (
        "6 pairs can give p >= 0.031 at best; the first Holm step over 10 comparisons needs 0.005: at least 9 seeds"
    )
    assert test(np.arange(1.0, 6.0)).reason == (
        "5 pairs can give p >= 0.062 at best; the level is 0.05: at least 6 seeds"
    )
    assert test(np.zeros(8)).reason.startswith("0 pairs that differ can give p >= 1 at best")
    assert test(np.array([])).pairs == 0


@pytest.mark.parametrize("alpha", [0.05, 0.01])
@pytest.mark.parametrize("comparisons", [1, 4, 10])
def test_accepts_from_the_number_of_seeds_it_names(alpha, comparisons):
    n = seeds_for_exact(alpha, comparisons)
    assert 2 / 2**n <= alpha / comparisons < 2 / 2 ** (n - 1)
    assert np.isnan(sign_flip(np.ones(n - 1), alpha=alpha, comparisons=comparisons).p)
    assert sign_flip(np.ones(n), alpha=alpha, comparisons=comparisons) == (2 / 2**n, n, 2 / 2**n, "")


def test_many_pairs_are_sampled_repeatably():
    differences = np.random.default_rng(2).normal(0.4, 1, 30)
    result = wilcoxon_exact(differences)
    expected = stats.wilcoxon(differences, method="exact").pvalue
    assert 0.001 < expected < 0.2
    assert result.p == pytest.approx(expected, abs=4 * np.sqrt(expected / 99_999))
    assert wilcoxon_exact(differences[::-1]).p == result.p
    assert sign_flip(np.ones(30)).p == pytest.approx(1e-5)  # the least that 99,999 patterns can give, never 0


@pytest.mark.parametrize("test", [sign_flip, wilcoxon_exact])
def test_errs_at_most_at_its_level(test):
    trials = 2000
    draws = np.random.default_rng(4).standard_t(2, (trials, 7))  # heavy tails
    rate = np.mean([test(differences).p <= 0.05 for differences in draws])
    assert 0.03 < rate <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / trials)
