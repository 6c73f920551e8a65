import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestPower

from normbench.stats import detectable_difference, paired_power, seeds_needed

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


@pytest.mark.parametrize("difference", [0.0005, -0.002, 0.006, 0.05])
@pytest.mark.parametrize("power", [0.8, 0.95])
@pytest.mark.parametrize("alpha", [0.05, 0.005])
def test_seeds_needed_are_the_fewest_that_do(difference, power, alpha):
    n = seeds_needed(difference, 0.004, power=power, alpha=alpha)
    assert paired_power(difference, 0.004, n, alpha=alpha) >= power
    assert n == 2 or paired_power(difference, 0.004, n - 1, alpha=alpha) < power


def test_seeds_needed_agrees_with_statsmodels():
    expected = TTestPower().solve_power(0.002 / 0.003, power=0.8, alpha=0.05)
    assert seeds_needed(0.002, 0.003) == int(np.ceil(expected)) == 20


def test_a_hopeless_difference_needs_a_finite_number_of_seeds():
    assert seeds_needed(1e-6, 0.01) == pytest.approx((stats.norm.ppf([0.975, 0.8]).sum() * 1e4) ** 2, rel=1e-6)
    assert 10**14 < seeds_needed(1e-6, 1e12) < 2**63


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
    with pytest.raises(ValueError, match="n=1"):
        detectable_difference(1, 0.1)
