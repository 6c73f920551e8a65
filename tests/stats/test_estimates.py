import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.weightstats import ttost_paired

from normbench.stats import (
    Criterion,
    detectable_difference,
    estimates,
    family_size,
    level_differences,
    seeds_for_equivalence,
    seeds_needed,
    verdict_text,
)
from tests.stats.conftest import pair_differences

pytestmark = pytest.mark.filterwarnings("error")

EFFECTS = {"batch": 0.0, "group": 0.004, "layer": -0.01, "none": 0.001}


def accuracies(runs, norm, batch_size=16):
    cell = runs[(runs["norm"] == norm) & (runs["batch_size"] == batch_size)]
    return cell.sort_values("seed")["test_accuracy"].to_numpy()


def two_norms(differences, base=0.9):
    """Runs of norms "a" and "b" with b - a = `differences`."""
    n = len(differences)
    values = np.concatenate([np.full(n, base), base + np.asarray(differences, dtype=float)])
    return pd.DataFrame({"norm": ["a"] * n + ["b"] * n, "seed": [*range(n)] * 2, "acc": values})


PLAIN = Criterion()


def only(runs, criterion=PLAIN, family=1):
    table = estimates(level_differences(runs, "acc", "norm", "a"), criterion, family=family)
    assert len(table) == 1
    return table.iloc[0]


def test_rows_agree_with_scipy_and_statsmodels(study):
    runs = study(EFFECTS, batch_sizes=(2, 16))
    differences = level_differences(runs, "test_accuracy", "norm", "batch", across="batch_size")
    table = estimates(differences, Criterion(margin=0.005), family=6)
    assert table[["batch_size", "treatment"]].to_records(index=False).tolist() == [
        (batch_size, norm) for batch_size in (2, 16) for norm in ("group", "layer", "none")
    ]
    for row in table.itertuples():
        treated = accuracies(runs, row.treatment, row.batch_size)
        baseline = accuracies(runs, "batch", row.batch_size)
        expected = stats.ttest_rel(treated, baseline)
        interval = expected.confidence_interval(1 - 0.05 / 6)
        assert row.p == pytest.approx(expected.pvalue, rel=1e-9)
        assert row.p_adjusted == pytest.approx(min(1, 6 * expected.pvalue))
        assert row.diff == pytest.approx((treated - baseline).mean())
        assert row.sd_diff == pytest.approx((treated - baseline).std(ddof=1))
        assert (row.low, row.high) == pytest.approx((interval.low, interval.high))
        told = row.p_adjusted < 0.05
        assert told == (row.low > 0 or row.high < 0) == (row.verdict.startswith(("better", "worse")))
        equal = ttost_paired(treated, baseline, -0.005, 0.005)[0] < 0.05 / 12
        assert equal == (row.verdict == "equivalent" or row.verdict.endswith("than the margin"))


def test_order_of_rows_does_not_matter(study):
    runs = study(EFFECTS, batch_sizes=(2, 16))
    tables = [
        estimates(pair_differences(frame, "test_accuracy", "norm", across="batch_size"), Criterion(), family=12)
        for frame in (runs, runs.sample(frac=1, random_state=1), runs.iloc[::-1])
    ]
    for table in tables[1:]:
        pd.testing.assert_frame_equal(tables[0], table, rtol=1e-9)


def test_the_family_is_what_is_declared_less_what_is_skipped(study):
    plan = study(EFFECTS, batch_sizes=(2, 16), seeds=range(3))
    skipped = ~((plan["norm"] == "none") & (plan["batch_size"] == 2))
    planned = plan[skipped].assign(metric=0.0)
    declared = family_size(level_differences(planned, "metric", "norm", "batch", across="batch_size"))
    assert declared == 5
    half = level_differences(plan[skipped & (plan["batch_size"] == 16)], "test_accuracy", "norm", "batch")
    table = estimates(half, Criterion(), family=declared)
    assert set(table["family"]) == {5}
    assert table["p_adjusted"].to_numpy() == pytest.approx(np.minimum(1, 5 * table["p"].to_numpy()))
    with pytest.raises(ValueError, match="family=2: 3 contrasts have data"):
        estimates(half, Criterion(), family=2)


def test_a_skipped_baseline_makes_no_contrast_in_the_plan(study):
    plan = study(EFFECTS, batch_sizes=(2, 16), seeds=range(3)).assign(metric=1.0)
    plan = plan[~((plan["norm"] == "batch") & (plan["batch_size"] == 2))]
    assert family_size(level_differences(plan, "metric", "norm", "batch", across="batch_size")) == 3


@pytest.mark.parametrize(
    ("differences", "margin", "higher_is_better", "expected"),
    [
        ([0.010, 0.011, 0.012], None, True, "better"),
        ([0.010, 0.011, 0.012], None, False, "worse"),
        ([-0.010, -0.011, -0.012], 0.005, True, "worse"),
        ([0.010, 0.011, 0.012], 0.05, True, "better by less than the margin"),
        ([0.010, 0.011, 0.012], 0.05, False, "worse by less than the margin"),
        ([0.001, -0.002, 0.001], 0.05, True, "equivalent"),
        ([0.001, -0.002, 0.001], 0.002, True, "open"),
        ([0.001, -0.002, 0.001], None, True, "open"),
        ([0.001], 0.05, True, "open"),
        ([0.0, 0.0, 0.0], 0.05, True, "identical"),
        ([0.0], 0.05, True, "open"),
    ],
)
def test_verdict(differences, margin, higher_is_better, expected):
    row = only(two_norms(differences), Criterion(margin=margin, higher_is_better=higher_is_better))
    assert row["verdict"] == expected


def test_identical_runs_are_identical_and_not_open():
    row = only(two_norms([0.0] * 5))
    assert (row["verdict"], row["reason"], verdict_text(row)) == ("identical", "identical", "identical in all 5 seeds")
    assert row[["low", "high", "p"]].isna().all()
    near = two_norms([0.0] * 5)
    near.loc[near.index[-5:], "acc"] += 1e-9  # rounding, but not the same numbers
    row = only(near)
    assert (row["verdict"], row["reason"]) == ("open", "no spread")


def test_equal_differences_have_no_error_of_their_own():
    for dtype in (np.float32, np.float64):
        base, treated = np.array([[0.91, 0.47, 0.1], [0.93, 0.49, 0.12]], dtype=dtype).astype(float)
        assert np.ptp(treated - base) > 0
        runs = two_norms([0.0] * 3)
        runs["acc"] = np.concatenate([base, treated])
        row = only(runs)  # by t, p would be below 1e-6
        assert (row["verdict"], row["reason"]) == ("open", "no spread")


def test_one_seed_has_a_difference_and_nothing_else():
    row = only(two_norms([0.01]), Criterion(margin=0.1))
    assert row["diff"] == pytest.approx(0.01)
    assert row[["sd_diff", "low", "high", "p", "seeds_low", "detectable_low"]].isna().all()
    assert (row["reason"], row["plan_reason"]) == ("one seed", "one seed")


def test_missing_seed_leaves_its_pair_out(study):
    runs = study({"batch": 0.0, "group": 0.004}, seeds=range(6))
    # Seed 0 of one side and seed 4 of the other: by position, five rows would still stand against five.
    holes = ((runs["norm"] == "batch") & (runs["seed"] == 0)) | ((runs["norm"] == "group") & (runs["seed"] == 4))
    table = estimates(level_differences(runs[~holes], "test_accuracy", "norm", "batch"), Criterion(), family=1)
    kept = [1, 2, 3, 5]
    expected = stats.ttest_rel(accuracies(runs, "group")[kept], accuracies(runs, "batch")[kept])
    assert table.loc[0, ["pairs", "left_out"]].tolist() == [4, 2]
    assert table.loc[0, "p"] == pytest.approx(expected.pvalue, rel=1e-9)


def test_seeds_are_a_range_from_the_pooled_sd_to_its_upper_limit(study):
    runs = study(EFFECTS, seeds=range(4)).drop(columns="batch_size")
    table = estimates(level_differences(runs, "test_accuracy", "norm", "batch"), Criterion(margin=0.005), family=3)
    values = runs.pivot(index="norm", columns="seed", values="test_accuracy").to_numpy()
    r = values - values.mean(axis=1, keepdims=True) - values.mean(axis=0) + values.mean()
    pooled = np.sqrt(2 * (r**2).sum() / 9)
    limit = pooled * np.sqrt(9 / stats.chi2.ppf(0.05, 9))
    for row in table.itertuples():
        upper = max(limit, row.sd_diff)
        assert (row.sd_planned, row.sd_upper) == pytest.approx((pooled, upper))
        assert row.seeds_low == seeds_needed(0.005, pooled, alpha=0.05 / 3)
        assert row.seeds_high == seeds_needed(0.005, upper, alpha=0.05 / 3) > row.seeds_low
        assert row.seeds_equivalent_high == seeds_for_equivalence(0.005, upper, alpha=0.05 / 3)
        assert row.detectable_high == pytest.approx(detectable_difference(4, upper, alpha=0.05 / 3))
        assert row.plan_reason == ""


@pytest.mark.parametrize(
    ("differences", "margin", "reason"),
    [
        ([0.01, 0.02, 0.03], None, "no margin"),
        ([1.0, 0.0, -1.0], 0.001, "needs more than 1,000 seeds"),
        ([0.0, 0.0], 0.001, "no spread"),
    ],
)
def test_seeds_that_say_nothing_are_missing_with_a_reason(differences, margin, reason):
    row = only(two_norms(differences), Criterion(margin=margin))
    assert row["plan_reason"] == reason
    assert row[["seeds_low", "seeds_high"]].isna().all()


def test_an_axis_may_not_have_the_name_of_a_result(study):
    runs = study(EFFECTS).rename(columns={"batch_size": "pairs"})
    with pytest.raises(ValueError, match="axis 'pairs' has the name of a column of the result: rename the axis"):
        estimates(level_differences(runs, "test_accuracy", "norm", "batch", across="pairs"), Criterion(), family=3)
    with pytest.raises(ValueError, match="axis 'diff'"):
        level_differences(runs.rename(columns={"pairs": "diff"}), "test_accuracy", "norm", "batch", across="diff")


def test_errors_name_the_culprit():
    with pytest.raises(ValueError, match="margin=0"):
        Criterion(margin=0)
    with pytest.raises(ValueError, match="alpha=5"):
        Criterion(alpha=5)
    with pytest.raises(ValueError, match="error='auto'"):
        Criterion(error="auto")
    with pytest.raises(ValueError, match="differences has no column 'contrast'"):
        estimates(two_norms([0.1]), Criterion(), family=1)


def test_no_contrast_is_an_empty_table(study):
    table = estimates(pair_differences(study({"batch": 0.0}), "test_accuracy", "norm"), Criterion(), family=1)
    assert table.empty
    assert "verdict" in table.columns
