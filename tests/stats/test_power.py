import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestPower
from statsmodels.stats.weightstats import ttost_paired

from normbench.stats import (
    detectable_by_seeds,
    detectable_difference,
    equivalence_power,
    paired_power,
    sd_upper_limit,
    seeds_for_equivalence,
    seeds_needed,
)

pytestmark = pytest.mark.filterwarnings("error")


@pytest.mark.parametrize("n", [2, 3, 5, 20, 1000])
@pytest.mark.parametrize("effect", [0.05, 0.8, 2.0])
@pytest.mark.parametrize("alpha", [0.05, 0.005])
def test_power_agrees_with_statsmodels(n, effect, alpha):
    expected = TTestPower().power(effect, n, alpha)
    if np.isnan(expected):  # where SciPy's noncentral t has no lower tail, which is then nothing
        degrees = n - 1
        expected = stats.nct.sf(stats.t.ppf(1 - alpha / 2, degrees), degrees, effect * np.sqrt(n))
    assert paired_power(effect * 0.002, 0.002, n, alpha=alpha) == pytest.approx(expected, rel=1e-6)


def test_power_where_the_noncentral_t_of_scipy_gives_nan():
    n, effect, alpha = 3, 5.0, 0.005
    draws = np.random.default_rng(0).normal(effect, 1, (40_000, n))
    found = np.mean(stats.ttest_1samp(draws, 0, axis=1).pvalue <= alpha)
    assert paired_power(effect, 1.0, n, alpha=alpha) == pytest.approx(found, abs=0.01)


@pytest.mark.parametrize("difference", [0.0007, -0.002, 0.006, 0.05])
@pytest.mark.parametrize("power", [0.8, 0.95])
@pytest.mark.parametrize("alpha", [0.05, 0.005])
def test_seeds_needed_are_the_fewest_that_do(difference, power, alpha):
    n = seeds_needed(difference, 0.004, power=power, alpha=alpha)
    assert paired_power(difference, 0.004, n, alpha=alpha) >= power
    assert n == 2 or paired_power(difference, 0.004, n - 1, alpha=alpha) < power


def test_seeds_needed_agrees_with_statsmodels():
    expected = TTestPower().solve_power(0.002 / 0.003, power=0.8, alpha=0.05)
    assert seeds_needed(0.002, 0.003) == int(np.ceil(expected)) == 20


def test_nobody_trains_more_than_a_thousand_seeds():
    assert seeds_needed(1e-6, 0.01) is None
    assert seeds_for_equivalence(1e-6, 0.01) is None
    most = seeds_needed(0.0009, 0.01, power=0.8)
    assert 900 < most <= 1000
    assert most == int(np.ceil(TTestPower().solve_power(0.09, power=0.8, alpha=0.05)))


@pytest.mark.parametrize(
    ("n", "margin", "alpha"), [(3, 0.01, 0.1), (5, 0.005, 0.1), (8, 0.005, 0.01), (20, 0.0021, 0.1)]
)
def test_equivalence_power_is_that_of_two_one_sided_tests(n, margin, alpha):
    draws = np.random.default_rng(n).normal(0, 0.003, (4000, n))
    zero = np.zeros(n)
    shown = np.mean([ttost_paired(d, zero, -margin, margin)[0] <= alpha / 2 for d in draws])
    assert equivalence_power(margin, 0.003, n, alpha=alpha) == pytest.approx(shown, abs=0.025)
    assert 0.05 < shown < 0.999


def test_equivalence_needs_more_seeds_than_a_difference_of_the_margin():
    needed = seeds_for_equivalence(0.005, 0.004, alpha=0.05)
    assert equivalence_power(0.005, 0.004, needed) >= 0.8 > equivalence_power(0.005, 0.004, needed - 1)
    assert needed > seeds_needed(0.005, 0.004)


@pytest.mark.parametrize(("degrees", "factor"), [(2, 4.415), (8, 1.711)])
def test_upper_limit_of_an_sd(degrees, factor):
    assert sd_upper_limit(1.0, degrees) == pytest.approx(factor, abs=1e-3)
    assert sd_upper_limit(0.3, degrees) == pytest.approx(0.3 * np.sqrt(degrees / stats.chi2.ppf(0.05, degrees)))


def test_upper_limit_holds_as_often_as_it_says_and_so_does_the_plan():
    """Planned with the limit, the power is what was asked for in 95 % of studies; with the estimate, in half."""
    draws = np.random.default_rng(2).normal(0, 0.004, (2000, 3)).std(axis=1, ddof=1)
    assert np.mean([sd_upper_limit(sd, 2) >= 0.004 for sd in draws]) == pytest.approx(0.95, abs=0.015)
    plans = [seeds_needed(0.005, sd_upper_limit(sd, 2)) or 1000 for sd in draws[:100]]
    assert np.mean([paired_power(0.005, 0.004, n) >= 0.8 for n in plans]) > 0.85
    naive = [seeds_needed(0.005, sd) for sd in draws[:300]]
    assert np.mean([paired_power(0.005, 0.004, n) for n in naive]) < 0.75


def test_detectable_by_seeds():
    table = detectable_by_seeds(0.003, 0.005, range(2, 8), alpha=0.05 / 4).set_index("seeds")
    assert table.loc[5, "detectable_low"] == pytest.approx(detectable_difference(5, 0.003, alpha=0.05 / 4))
    assert table.loc[5, "detectable_high"] == pytest.approx(detectable_difference(5, 0.005, alpha=0.05 / 4))
    assert equivalence_power(table.loc[5, "equivalent_high"], 0.005, 5, alpha=0.05 / 4) == pytest.approx(0.8)
    assert (table.diff().dropna() < 0).all(axis=None)


@pytest.mark.parametrize("n", [2, 3, 5, 30])
@pytest.mark.parametrize("alpha", [0.05, 0.05 / 60])
def test_detectable_difference_is_the_inverse(n, alpha):
    difference = detectable_difference(n, 0.003, alpha=alpha)
    assert paired_power(difference, 0.003, n, alpha=alpha) == pytest.approx(0.8, abs=1e-9)
    assert seeds_needed(difference * 1.000001, 0.003, alpha=alpha) == n


def test_detectable_difference_is_found_as_often_as_promised():
    difference = detectable_difference(5, 0.003)
    draws = np.random.default_rng(1).normal(difference, 0.003, (20_000, 5))
    assert np.mean(stats.ttest_1samp(draws, 0, axis=1).pvalue <= 0.05) == pytest.approx(0.8, abs=0.01)


def test_power_below_the_level_comes_for_free():
    assert detectable_difference(5, 0.003, power=0.04) == 0
    assert seeds_needed(0.0001, 0.003, power=0.04) == 2


def test_errors_name_the_culprit():
    with pytest.raises(ValueError, match=r"difference=0\.0"):
        seeds_needed(0.0, 0.1)
    with pytest.raises(ValueError, match="sd=0"):
        seeds_needed(0.1, 0)
    with pytest.raises(ValueError, match="power=80"):
        seeds_needed(0.1, 0.1, power=80)
    with pytest.raises(ValueError, match="margin=-1"):
        seeds_for_equivalence(-1, 0.1)
    with pytest.raises(ValueError, match="n=1"):
        detectable_difference(1, 0.1)
