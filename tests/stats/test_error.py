import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.formula.api import ols

from normbench.stats import Criterion, error_term, estimates, level_differences
from normbench.stats.error import Residual, difference_variance, residual

pytestmark = pytest.mark.filterwarnings("error")


def block(k=4, n=5, draw=0):
    rng = np.random.default_rng(draw)
    return 0.9 + rng.normal(0, 0.02, n) + rng.normal(0, 0.005, (k, n))


def frame(values):
    """Blocks (cells x norms x seeds) as runs."""
    cell, norm, seed = (axis.ravel() for axis in np.indices(values.shape))
    return pd.DataFrame({"cell": cell, "norm": norm, "seed": seed, "y": values.ravel()})


@pytest.mark.parametrize(("k", "n"), [(2, 3), (3, 3), (5, 4), (13, 10)])
def test_residual_is_that_of_the_two_way_layout(k, n):
    values = block(k, n)
    runs = frame(values[None])
    fit = ols("y ~ C(norm) + C(seed)", runs).fit()
    assert residual(values) == pytest.approx((fit.mse_resid, k))


def test_copies_count_once():
    values = block()
    assert residual(np.vstack([values, values[1]])) == residual(values)


def test_error_terms_are_the_formulas():
    values, n, k = block(), 5, 4
    d, found = values[1] - values[0], residual(block())
    ms, s2 = found.mean_square, (values[1] - values[0]).var(ddof=1)
    assert difference_variance(d, found, "paired") == pytest.approx((s2, n - 1))
    assert difference_variance(d, found, "pooled") == pytest.approx((2 * ms, (k - 1) * (n - 1)))
    d0 = (k - 2) / (k - 1)
    expected = (d0 * 2 * ms + (n - 1) * s2) / (d0 + n - 1)
    assert difference_variance(d, found, "shrunk") == pytest.approx((expected, d0 + n - 1))


@pytest.mark.parametrize("error", ["shrunk", "pooled"])
def test_two_levels_have_nothing_to_borrow(error):
    values = block(k=2)
    d = values[1] - values[0]
    found = difference_variance(d, residual(values), error)
    assert found == pytest.approx(difference_variance(d, residual(values), "paired"))
    assert difference_variance(d, Residual(np.nan, 1), error).degrees == 4


def test_the_plan_decides_and_not_the_data():
    assert [error_term("auto", n) for n in (1, 3, 4, 5, 10)] == ["shrunk"] * 3 + ["paired"] * 2
    assert error_term("pooled", 3) == "pooled"
    with pytest.raises(ValueError, match="error='best' is unknown"):
        error_term("best", 3)
    with pytest.raises(ValueError, match="planned_seeds=0"):
        error_term("auto", 0)


def test_the_block_is_that_of_the_seeds_of_the_pair():
    values = block(k=4, n=5)
    runs = frame(values[None])
    runs = runs[~((runs["norm"] == 1) & (runs["seed"] == 4)) & ~((runs["norm"] == 3) & (runs["seed"] == 0))]
    table = estimates(level_differences(runs, "y", "norm", 0), Criterion(error="pooled"), family=3)
    table = table.set_index("treatment")
    # Norm 3 lacks seed 0, so that norm 1's block is of norms 0, 1 and 2 over four seeds.
    assert table.loc[1, "se"] == pytest.approx(np.sqrt(2 * residual(values[:3, :4]).mean_square / 4))
    assert table.loc[1, "degrees"] == 2 * 3
    assert table.loc[2, "se"] == pytest.approx(np.sqrt(2 * residual(values[[0, 2]]).mean_square / 5))


def test_seeds_left_out_of_the_frame_leave_the_error_too():
    values = block(k=4, n=8)
    differences = level_differences(frame(values[None]), "y", "norm", 0)
    first = level_differences(frame(values[None, :, :3]), "y", "norm", 0)
    tables = [
        estimates(part, Criterion(error="shrunk"), family=3) for part in (differences[differences["seed"] < 3], first)
    ]
    pd.testing.assert_frame_equal(*tables)


@pytest.mark.parametrize("error", ["paired", "shrunk", "pooled"])
def test_intervals_use_the_error_term(error):
    values = block()
    table = estimates(level_differences(frame(values[None]), "y", "norm", 0), Criterion(error=error), family=7)
    for i, row in enumerate(table.itertuples(), start=1):
        variance, degrees = difference_variance(values[i] - values[0], residual(values), error)
        half = stats.t.ppf(1 - 0.05 / 14, degrees) * np.sqrt(variance / 5)
        assert (row.low, row.high, row.degrees) == pytest.approx((row.diff - half, row.diff + half, degrees))


def simulated(trials, n, spreads, effect, draw):
    """Blocks of five norms with what a seed gives to all (sd .15 points) and their own sds."""
    rng = np.random.default_rng(draw)
    shared = 0.15 * rng.normal(size=(trials, 1, n))
    values = shared + np.asarray(spreads)[:, None] * rng.normal(size=(trials, len(spreads), n))
    values[:, 1:] += effect
    return values


EQUAL = [0.08] * 5


def rejected(values, error):
    """Share of trials with a rejection among the four, and share of the contrasts."""
    differences = level_differences(frame(values), "y", "norm", 0, across="cell")
    # Each trial is a study with a family of four: the level of all rows together is as many times larger.
    family = len(values) * 4
    table = estimates(differences, Criterion(error=error), family=family)
    told = table["p"].to_numpy().reshape(-1, 4) * 4 < 0.05
    return told.any(axis=1).mean(), told.mean()


@pytest.mark.parametrize(
    ("error", "n", "spreads", "low", "high"),
    [
        ("paired", 3, EQUAL, 0.02, 0.085),
        ("paired", 5, EQUAL, 0.01, 0.08),
        ("shrunk", 3, EQUAL, 0.0, 0.06),
        ("shrunk", 3, [0.08, 0.03, 0.05, 0.12, 0.2], 0.0, 0.08),
        ("shrunk", 3, [0.4, *EQUAL[1:]], 0.0, 0.085),
        ("pooled", 3, EQUAL, 0.02, 0.085),
        ("pooled", 3, [0.4, *EQUAL[1:]], 0.12, 1.0),  # why it is not the default
    ],
)
def test_family_wise_error(error, n, spreads, low, high):
    family_error, _ = rejected(simulated(500, n, spreads, 0.0, draw=5), error)
    assert low <= family_error <= high


def test_pairing_is_the_gain_and_shrinking_helps_at_three_seeds():
    at_three = {error: rejected(simulated(300, 3, EQUAL, 0.8, 6), error)[1] for error in ("paired", "shrunk")}
    assert at_three["shrunk"] > at_three["paired"] + 0.05
    values = simulated(300, 5, EQUAL, 0.25, 7)
    unpaired = stats.ttest_ind(values[:, 1:], values[:, :1], axis=2, equal_var=False).pvalue * 4 < 0.05
    assert rejected(values, "paired")[1] > unpaired.mean() + 0.2
