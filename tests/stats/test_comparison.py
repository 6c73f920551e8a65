from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import ttost_paired

from normbench.stats import (
    Criterion,
    compare_all_pairs,
    compare_to_baseline,
    detectable_difference,
    holm,
    seeds_needed,
)

pytestmark = pytest.mark.filterwarnings("error")

EFFECTS = {"batch": 0.0, "group": 0.004, "layer": -0.01, "none": 0.001}


def accuracies(runs, norm, batch_size=16):
    cell = runs[(runs["norm"] == norm) & (runs["batch_size"] == batch_size)]
    return cell.sort_values("seed")["test_accuracy"].to_numpy()


def two_norms(differences, seeds=None, metric="test_accuracy", base=0.9):
    """Runs of norms "a" and "b" with b - a = `differences`."""
    n = len(differences)
    seeds = list(range(n)) if seeds is None else seeds
    values = np.concatenate([np.full(n, base), base + np.asarray(differences)])
    return pd.DataFrame({"norm": ["a"] * n + ["b"] * n, "seed": seeds * 2, metric: values})


def only(table):
    assert len(table) == 1
    return table.iloc[0]


def test_rows_agree_with_scipy_and_statsmodels(study):
    runs = study(EFFECTS, batch_sizes=(2, 16))
    table = compare_to_baseline(
        runs, "test_accuracy", "norm", "batch", across="batch_size", criterion=Criterion(margin=0.005)
    )
    assert table[["batch_size", "treatment"]].to_records(index=False).tolist() == [
        (batch_size, norm) for batch_size in (2, 16) for norm in ("group", "layer", "none")
    ]
    assert set(table["baseline"]) == {"batch"}
    for row in table.itertuples():
        treated = accuracies(runs, row.treatment, row.batch_size)
        baseline = accuracies(runs, "batch", row.batch_size)
        expected = stats.ttest_rel(treated, baseline)
        interval = expected.confidence_interval(0.95)
        assert row.p == pytest.approx(expected.pvalue, rel=1e-9)
        assert row.diff == pytest.approx((treated - baseline).mean())
        assert row.sd_diff == pytest.approx((treated - baseline).std(ddof=1))
        assert (row.diff_ci_low, row.diff_ci_high) == pytest.approx((interval.low, interval.high))
        assert row.p_equivalent == pytest.approx(ttost_paired(treated, baseline, -0.005, 0.005)[0], rel=1e-9)
        assert row.seeds_needed == seeds_needed(0.005, row.sd_diff, alpha=0.05 / 6)
        assert row.detectable == pytest.approx(detectable_difference(5, row.sd_diff, alpha=0.05 / 6))
    for p in ("p", "p_equivalent"):
        assert table[f"{p}_holm"].to_numpy() == pytest.approx(multipletests(table[p], method="holm")[1])


def test_all_pairs_are_one_family(study):
    runs = study(EFFECTS)
    table = compare_all_pairs(runs, "test_accuracy", "norm", across=["batch_size"])
    assert list(zip(table["baseline"], table["treatment"], strict=True)) == list(combinations(EFFECTS, 2))
    expected = [stats.ttest_rel(accuracies(runs, b), accuracies(runs, a)).pvalue for a, b in combinations(EFFECTS, 2)]
    assert table["p"].to_numpy() == pytest.approx(expected, rel=1e-9)
    assert table["p_holm"].to_numpy() == pytest.approx(multipletests(expected, method="holm")[1])
    assert table["seeds_needed"].isna().all()  # without a margin there is no difference to plan for


@pytest.mark.parametrize("compare", [compare_all_pairs, compare_to_baseline])
def test_order_of_rows_does_not_matter(study, compare):
    runs = study(EFFECTS, batch_sizes=(2, 16))
    arguments = ("test_accuracy", "norm") + (("batch",) if compare is compare_to_baseline else ())
    tables = [
        compare(frame, *arguments, across="batch_size")
        for frame in (runs, runs.sample(frac=1, random_state=1), runs.iloc[::-1])
    ]
    for table in tables[1:]:
        pd.testing.assert_frame_equal(tables[0], table, check_exact=True)


def test_missing_seed_leaves_its_pair_out(study):
    runs = study({"batch": 0.0, "group": 0.004}, seeds=range(6))
    # Seed 0 of one side and seed 4 of the other: by position, five rows would still stand against five.
    holes = ((runs["norm"] == "batch") & (runs["seed"] == 0)) | ((runs["norm"] == "group") & (runs["seed"] == 4))
    row = only(compare_to_baseline(runs[~holes], "test_accuracy", "norm", "batch", across="batch_size"))
    kept = [1, 2, 3, 5]
    expected = stats.ttest_rel(accuracies(runs, "group")[kept], accuracies(runs, "batch")[kept])
    assert (row["pairs"], row["left_out"]) == (4, 2)
    assert row["p"] == pytest.approx(expected.pvalue, rel=1e-9)


def test_baseline_missing_in_a_cell_is_shown(study):
    runs = study({"batch": 0.0, "group": 0.004, "layer": 0.0}, batch_sizes=(1, 16))
    runs = runs[~((runs["norm"] == "batch") & (runs["batch_size"] == 1))]
    table = compare_to_baseline(runs, "test_accuracy", "norm", "batch", across="batch_size")
    assert list(table["pairs"]) == [0, 0, 5, 5]
    assert list(table["left_out"]) == [5, 5, 0, 0]
    assert table["verdict"][0] == "not distinguishable with 0 seeds"
    assert table["note"][0] == "0 pairs: a comparison needs at least 2"
    # Untested rows stay in the family: the tested ones do not get better because runs are missing.
    assert table["p_holm"][2:].min() == pytest.approx(4 * table["p"].min())


def test_cell_that_neither_side_ran_has_no_row(study):
    runs = study({"batch": 0.0, "group": 0.004, "layer": 0.0}, batch_sizes=(1, 16))
    runs = runs[~((runs["norm"] != "layer") & (runs["batch_size"] == 1))]
    table = compare_all_pairs(runs, "test_accuracy", "norm", across="batch_size")
    assert list(table["batch_size"]) == [1, 1, 16, 16, 16]


@pytest.mark.parametrize("relabel", [{16: 1, 2: 0}, {16: "16", 2: "2"}, {16: 16, 2: "full"}])
def test_axis_values_of_any_kind(study, relabel):
    runs = study({"batch": 0.0, "group": 0.004}, batch_sizes=(16, 2))
    runs["batch_size"] = runs["batch_size"].map(relabel)
    as_across = compare_all_pairs(runs, "test_accuracy", "norm", across="batch_size")
    assert list(as_across["pairs"]) == [5, 5]
    as_factor = compare_to_baseline(runs, "test_accuracy", "batch_size", relabel[16], across="norm")
    assert list(as_factor["treatment"]) == [relabel[2]] * 2
    assert list(as_factor["pairs"]) == [5, 5]


def test_a_categorical_factor_keeps_its_order(study):
    runs = study(EFFECTS)
    runs["norm"] = pd.Categorical(runs["norm"], ["none", "layer", "group", "batch"])
    table = compare_to_baseline(runs, "test_accuracy", "norm", "group", across="batch_size")
    assert list(table["treatment"]) == ["none", "layer", "batch"]


def test_diverged_runs_count_at_chance_or_are_left_out_and_counted(study):
    runs = study({"batch": 0.0, "group": 0.004})
    hit = (runs["norm"] == "group") & runs["seed"].isin([0, 3])
    runs.loc[hit, "diverged_at_step"] = 7
    runs.loc[hit, "test_accuracy"] = np.nan
    arguments = (runs, "test_accuracy", "norm", "batch")
    row = only(compare_to_baseline(*arguments, across="batch_size"))
    assert (row["pairs"], row["left_out"], row["diverged"]) == (3, 2, 2)
    row = only(compare_to_baseline(*arguments, across="batch_size", criterion=Criterion(chance=0.1)))
    assert (row["pairs"], row["left_out"], row["diverged"]) == (5, 0, 2)
    treated = np.where(np.isin(np.arange(5), [0, 3]), 0.1, accuracies(runs, "group"))
    assert row["diff"] == pytest.approx((treated - accuracies(runs, "batch")).mean())


@pytest.mark.parametrize(
    ("differences", "margin", "higher_is_better", "verdict"),
    [
        ([0.010, 0.011, 0.012], None, True, "better"),
        ([0.010, 0.011, 0.012], None, False, "worse"),
        ([-0.010, -0.011, -0.012], None, True, "worse"),
        ([-0.010, -0.011, -0.012], None, False, "better"),
        ([0.010, 0.011, 0.012], 0.05, True, "better"),  # significant though inside the margin
        ([0.001, -0.002, 0.001], 0.05, True, "equivalent within 0.05"),
        ([0.001, -0.002, 0.001], 0.002, True, "not distinguishable with 3 seeds"),
        ([0.001, -0.002, 0.001], None, True, "not distinguishable with 3 seeds"),
        ([0.001], 0.05, True, "not distinguishable with 1 seed"),
    ],
)
def test_verdict(differences, margin, higher_is_better, verdict):
    criterion = Criterion(margin=margin, higher_is_better=higher_is_better)
    row = only(compare_to_baseline(two_norms(differences), "test_accuracy", "norm", "a", criterion=criterion))
    assert row["verdict"] == verdict


def test_verdict_follows_the_corrected_p(study):
    table = compare_all_pairs(study(EFFECTS, draw=2), "test_accuracy", "norm", across="batch_size")
    fooled = table[(table["p"] <= 0.05) & (table["p_holm"] > 0.05)]
    assert len(fooled)  # the draw has a row that only an uncorrected p would call a difference
    assert set(fooled["verdict"]) == {"not distinguishable with 5 seeds"}


def test_equivalence_follows_the_corrected_p():
    runs = two_norms([0.001, -0.002, 0.001])
    alone = only(compare_all_pairs(runs, "test_accuracy", "norm", criterion=Criterion(margin=0.006)))
    assert alone["verdict"] == "equivalent within 0.006"
    cells = pd.concat([runs.assign(batch_size=size) for size in range(5)])
    table = compare_all_pairs(cells, "test_accuracy", "norm", across="batch_size", criterion=Criterion(margin=0.006))
    assert (table["p_equivalent"] <= 0.05).all()
    assert set(table["verdict"]) == {"not distinguishable with 3 seeds"}


def test_one_pair_has_a_difference_and_nothing_else():
    row = only(compare_all_pairs(two_norms([0.01]), "test_accuracy", "norm", criterion=Criterion(margin=0.1)))
    assert row["diff"] == pytest.approx(0.01)
    inference = ["sd_diff", "diff_ci_low", "diff_ci_high", "p", "p_holm", "p_equivalent", "seeds_needed"]
    assert row[[*inference, "detectable"]].isna().all()


@pytest.mark.parametrize(
    ("difference", "p", "p_equivalent"),
    [
        (0.0, 1.0, 1 / 64),
        (0.01, 1 / 32, 1 / 64),  # the exact sign-flip p of six equal differences
        (0.2, 1 / 32, 1.0),
    ],
)
def test_equal_differences_have_a_sign_flip_p_and_no_interval(difference, p, p_equivalent):
    runs = two_norms([difference] * 6)
    row = only(compare_all_pairs(runs, "test_accuracy", "norm", criterion=Criterion(margin=0.1)))
    assert row["sd_diff"] == 0
    assert (row["p"], row["p_equivalent"]) == (p, p_equivalent)
    assert row[["diff_ci_low", "diff_ci_high", "seeds_needed", "detectable"]].isna().all()
    assert "sign-flip" in row["note"]


def test_differences_that_only_rounding_tells_apart_are_equal():
    for dtype in (np.float32, np.float64):
        base, treated = np.array([[0.91, 0.47, 0.1], [0.93, 0.49, 0.12]], dtype=dtype).astype(float)
        assert np.ptp(treated - base) > 0
        runs = two_norms([0.0] * 3)
        runs["test_accuracy"] = np.concatenate([base, treated])
        row = only(compare_all_pairs(runs, "test_accuracy", "norm"))
        assert row["p"] == 0.25  # by t, p would be below 1e-6
    runs["test_accuracy"] = [0.3, 0.6, 0.9, 0.1 + 0.2, 0.6, 0.9]
    row = only(compare_all_pairs(runs, "test_accuracy", "norm"))
    assert (row["diff"], row["p"]) == (0, 1)


@pytest.mark.parametrize("test", ["sign-flip", "wilcoxon"])
def test_exact_test_in_place_of_t(test):
    criterion = Criterion(test=test)
    few = only(compare_all_pairs(two_norms([1, 2, 3, 4, 5.0]), "test_accuracy", "norm", criterion=criterion))
    assert np.isnan(few["p"])
    assert few["verdict"] == "not distinguishable with 5 seeds"
    assert few["note"].endswith("at least 6 seeds")
    enough = only(compare_all_pairs(two_norms([1, 2, 3, 4, 5, 6.0]), "test_accuracy", "norm", criterion=criterion))
    assert enough["p"] == 2 / 2**6
    assert (enough["verdict"], enough["note"]) == ("better", "")


def test_exact_test_knows_the_size_of_the_family(study):
    runs = study(dict.fromkeys("abcde", 0.0), seeds=range(6))
    table = compare_all_pairs(runs, "test_accuracy", "norm", across="batch_size", criterion=Criterion(test="sign-flip"))
    assert set(table["note"]) == {
        "6 pairs can give p >= 0.031 at best; the first Holm step over 10 comparisons needs 0.005: at least 9 seeds"
    }


def test_p_is_uniform_without_a_difference_and_at_the_margin():
    """Both tests err as often as they say: at zero difference, and at a true difference of the margin."""
    trials, n, margin = 800, 5, 0.003
    rng = np.random.default_rng(7)
    tolerance = 3 * np.sqrt(0.05 * 0.95 / trials)
    for effect, p in ((0.0, "p"), (margin, "p_equivalent")):
        shared = rng.normal(0.9, 0.01, (trials, n))
        values = np.stack([shared, shared + effect + rng.normal(0, 0.001, (trials, n))], axis=1)
        trial, norm, seed = (axis.ravel() for axis in np.indices(values.shape))
        runs = pd.DataFrame({"trial": trial, "norm": norm, "seed": seed, "loss": values.ravel()})
        table = compare_to_baseline(runs, "loss", "norm", 0, across="trial", criterion=Criterion(margin=margin))
        assert np.mean(table[p] <= 0.05) == pytest.approx(0.05, abs=tolerance)
        assert np.mean(table[f"{p}_holm"] <= 0.05) <= 0.01


def test_family_errs_at_most_at_its_level():
    trials, norms, n = 3000, 5, 5
    values = np.random.default_rng(3).normal(size=(trials, norms, n))
    first, second = np.array(list(combinations(range(norms), 2))).T
    p = stats.ttest_rel(values[:, first], values[:, second], axis=2).pvalue
    family_error = np.mean([holm(row).min() <= 0.05 for row in p])
    assert family_error <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / trials)
    assert np.mean(p.min(axis=1) <= 0.05) > 0.2  # uncorrected


@pytest.mark.parametrize("size", [1, 2, 7])
def test_holm_agrees_with_statsmodels(size):
    p = np.random.default_rng(size).uniform(size=size) ** 3
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1])
    assert holm(np.append(p, np.nan))[:-1] == pytest.approx(multipletests(np.append(p, 1.0), method="holm")[1][:-1])
    assert np.isnan(holm(np.append(p, np.nan))[-1])


def test_no_comparison_is_an_empty_table(study):
    table = compare_all_pairs(study({"batch": 0.0}), "test_accuracy", "norm", across="batch_size")
    assert table.empty
    assert "verdict" in table.columns


def test_errors_name_the_culprit(study):
    runs = study({"batch": 0.0, "group": 0.0}, batch_sizes=(2, 16))
    with pytest.raises(ValueError, match="several rows for norm='batch', seed=0"):
        compare_all_pairs(runs, "test_accuracy", "norm")
    with pytest.raises(ValueError, match=r"baseline 'bn' is no value of 'norm': choose one of \['batch', 'group'\]"):
        compare_to_baseline(runs, "test_accuracy", "norm", "bn", across="batch_size")
    with pytest.raises(ValueError, match="without 'norm'"):
        compare_all_pairs(runs.replace({"norm": {"batch": None}}), "test_accuracy", "norm")
    with pytest.raises(ValueError, match="margin=0"):
        Criterion(margin=0)
    with pytest.raises(ValueError, match="alpha=5"):
        Criterion(alpha=5)
    with pytest.raises(ValueError, match="test='u'"):
        Criterion(test="u")
