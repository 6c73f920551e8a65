import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar

from normbench.stats import Criterion, estimates, exact_mcnemar, level_differences, seeds_for_exact, verdict_text

pytestmark = pytest.mark.filterwarnings("error")


def compared(runs, family=1, margin=0.005):
    differences = level_differences(runs, "test_accuracy", "norm", "batch")
    return estimates(differences, Criterion(margin=margin), family=family).iloc[0]


def diverge(runs, norm, seeds, mark=True):
    hit = (runs["norm"] == norm) & runs["seed"].isin(seeds)
    runs.loc[hit, "test_accuracy"] = np.nan
    if mark:
        runs.loc[hit, "diverged_at_step"] = 7
    return runs


@pytest.mark.parametrize(("b", "c"), [(0, 0), (5, 0), (1, 4), (3, 3), (0, 6)])
def test_exact_mcnemar_agrees_with_statsmodels(b, c):
    assert exact_mcnemar(b, c) == pytest.approx(mcnemar([[4, b], [c, 2]], exact=True).pvalue if b + c else 1.0)
    if b + c:
        assert exact_mcnemar(b, c) == pytest.approx(stats.binomtest(b, b + c).pvalue)


def test_counts_and_exact_comparison(study):
    runs = diverge(diverge(study({"batch": 0.0, "group": 0.0}, seeds=range(8)), "group", [0, 1, 2]), "batch", [2, 3])
    row = compared(runs, family=4)
    assert row[["runs_treatment", "diverged_treatment", "runs_baseline", "diverged_baseline"]].tolist() == [8, 3, 8, 2]
    assert row["p_diverged"] == exact_mcnemar(2, 1)
    assert row["p_diverged_adjusted"] == 1
    assert (row["pairs"], row["left_out"]) == (4, 4)


@pytest.mark.parametrize("effect", [0.0, 0.05])
def test_diverging_is_neither_better_nor_equivalent(study, effect):
    runs = study({"batch": 0.0, "group": effect}, sd=0.0005)
    assert compared(runs)["verdict"] == ("better" if effect else "equivalent")
    row = compared(diverge(runs, "group", [0, 3]))
    assert row["verdict"] == "diverged"
    assert verdict_text(row) == "diverged in 2 of 5"
    assert row["plan_reason"] == "diverged"
    assert np.isnan(row["detectable_low"])


def test_a_worse_norm_stays_worse_when_it_diverges(study):
    runs = study({"batch": 0.0, "group": -0.02}, sd=0.001)
    assert compared(runs)["verdict"] == "worse"
    assert compared(diverge(runs, "group", [1, 4]))["verdict"] == "worse"


def test_a_baseline_that_diverges_is_not_better_either(study):
    runs = diverge(study({"batch": 0.0, "group": -0.02}, sd=0.001), "batch", [2])
    row = compared(runs)
    assert row["verdict"] == "baseline diverged"
    assert verdict_text(row) == "baseline diverged in 1 of 5"
    runs = diverge(study({"batch": 0.0, "group": 0.02}, sd=0.001), "batch", [2])
    assert compared(runs)["verdict"] == "better"


def test_both_diverged_in_the_same_seeds_says_nothing_against_either(study):
    runs = diverge(diverge(study({"batch": 0.0, "group": 0.02}, sd=0.001), "batch", [2]), "group", [2])
    assert compared(runs)["verdict"] == "better"
    everything = diverge(diverge(runs, "batch", range(5)), "group", range(5))
    row = compared(everything)
    assert (row["verdict"], row["reason"], row["pairs"]) == ("open", "diverged", 0)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_diverged_without_a_mark(study, value):
    runs = study({"batch": 0.0, "group": 0.0})
    runs.loc[(runs["norm"] == "group") & (runs["seed"] == 1), "test_accuracy"] = value
    row = compared(runs)
    assert (row["diverged_treatment"], row["verdict"]) == (1, "diverged")
    left_out = level_differences(runs, "test_accuracy", "norm", "batch", missing="left out")
    row = estimates(left_out, Criterion(), family=1).iloc[0]
    assert (row["diverged_treatment"], row["pairs"]) == (0, 4)


def test_seeds_for_an_exact_test():
    assert seeds_for_exact() == 6
    assert seeds_for_exact(comparisons=10) == 9
    assert 2 / 2**8 > 0.005 >= 2 / 2**9
