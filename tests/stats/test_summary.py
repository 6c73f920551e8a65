import numpy as np
import pandas as pd
import pytest
from scipy import stats

from normbench.stats import mean_interval, summarize

pytestmark = pytest.mark.filterwarnings("error")


@pytest.mark.parametrize("n", [2, 3, 5, 20, 35])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_interval_is_student_t_at_every_n(n, level):
    values = np.random.default_rng(n).normal(0.9, 0.01, n)
    low, high, method = mean_interval(values, level)
    expected = stats.ttest_1samp(values, 0).confidence_interval(level)
    assert (low, high) == pytest.approx((expected.low, expected.high), rel=1e-12)
    assert method == "Student t"


@pytest.mark.parametrize("n", [7, 25])
def test_interval_does_not_depend_on_the_order(n):
    values = np.random.default_rng(n).normal(0.9, 0.01, n)
    assert mean_interval(values) == mean_interval(values[::-1])


@pytest.mark.parametrize("n", [3, 5, 20])
def test_student_t_covers_what_it_promises(n):
    trials = 2000
    draws = np.random.default_rng(n).normal(0.9, 0.01, (trials, n))
    bounds = np.array([mean_interval(values)[:2] for values in draws])
    covered = np.mean((bounds[:, 0] <= 0.9) & (bounds[:, 1] >= 0.9))
    assert covered == pytest.approx(0.95, abs=3 * np.sqrt(0.95 * 0.05 / trials))


@pytest.mark.parametrize(
    ("values", "method"),
    [
        ([], "none (n=0)"),
        ([0.9], "none (n=1)"),
        ([0.9, 0.9, 0.9], "none (all values equal)"),
        ([0.1 + 0.2, 0.3, 0.3], "none (all values equal)"),  # equal on paper, not in the last bit
        ([0.9] * 25, "none (all values equal)"),
    ],
)
def test_interval_that_cannot_be_computed_says_why(values, method):
    low, high, given = mean_interval(np.array(values))
    assert np.isnan([low, high]).all()
    assert given == method


def test_cell_is_described(study):
    runs = study({"batch": 0.0, "group": 0.01}, batch_sizes=(16, 2))
    table = summarize(runs, ["norm", "batch_size"], "test_accuracy")
    assert list(table["batch_size"]) == [2, 16, 2, 16]
    cell = runs[(runs["norm"] == "group") & (runs["batch_size"] == 2)]["test_accuracy"]
    row = table.iloc[2]
    assert (row["n"], row["n_used"], row["diverged"], row["method"]) == (5, 5, 0, "Student t")
    assert list(row[["mean", "sd", "median", "min", "max"]]) == pytest.approx(
        [cell.mean(), cell.std(), cell.median(), cell.min(), cell.max()]
    )


@pytest.mark.parametrize("seeds", [range(5), range(25)])
def test_order_of_rows_does_not_matter(study, seeds):
    runs = study({"batch": 0.0, "group": 0.01}, seeds=seeds, batch_sizes=(16, 2))
    shuffled = runs.sample(frac=1, random_state=3)
    pd.testing.assert_frame_equal(
        summarize(runs, ["norm", "batch_size"], "test_accuracy"),
        summarize(shuffled, ["norm", "batch_size"], "test_accuracy"),
        check_exact=True,
    )


def diverging(metric, values, steps):
    return pd.DataFrame({"norm": "none", "seed": range(len(values)), metric: values, "diverged_at_step": steps})


def test_a_diverged_run_has_no_value_and_is_counted():
    runs = diverging("test_accuracy", [0.9, None, 0.8, 0.7], [None, 12, None, 0])
    row = summarize(runs, "norm", "test_accuracy").iloc[0]
    assert (row["n"], row["n_used"], row["diverged"]) == (4, 2, 2)  # step 0 is a step too
    assert row["mean"] == pytest.approx(0.85)


def test_a_value_that_is_not_finite_is_diverged_or_was_not_measured():
    runs = diverging("test_nll", [0.2, np.nan, 0.4, np.inf], [np.nan, 12, np.nan, np.nan])
    row = summarize(runs, ["norm"], "test_nll").iloc[0]
    assert (row["n"], row["n_used"], row["diverged"]) == (4, 2, 2)
    row = summarize(runs, ["norm"], "test_nll", missing="left out").iloc[0]
    assert (row["n"], row["n_used"], row["diverged"]) == (4, 2, 1)


def test_cell_of_which_all_diverged():
    runs = diverging("test_nll", [np.nan, np.nan], [3, 4])
    row = summarize(runs, "norm", "test_nll").iloc[0]
    assert (row["n_used"], row["diverged"], row["method"]) == (0, 2, "none (n=0)")
    assert np.isnan([row["mean"], row["sd"], row["median"], row["max"]]).all()


def test_axis_values_may_be_mixed_or_missing(study):
    runs = study({"a": 0.0}, batch_sizes=(1, 2, 3)).astype({"batch_size": object})
    runs["batch_size"] = runs["batch_size"].map({1: "full", 2: 2, 3: None})
    table = summarize(runs, "batch_size", "test_accuracy")
    assert list(table["n"]) == [5, 5, 5]


def test_no_axis_is_one_cell_and_no_rows_is_no_cell(study):
    runs = study({"a": 0.0})
    assert summarize(runs, [], "test_accuracy")["n"].tolist() == [5]
    empty = summarize(runs.iloc[:0], "norm", "test_accuracy")
    assert empty.empty
    assert {"norm", "mean", "method"} <= set(empty.columns)


def test_runs_without_divergence_column(study):
    runs = study({"a": 0.0}).drop(columns="diverged_at_step")
    assert summarize(runs, "norm", "test_accuracy")["diverged"].tolist() == [0]


def test_errors_name_the_culprit(study):
    runs = study({"batch": 0.0}, batch_sizes=(16, 2))
    with pytest.raises(ValueError, match="several rows for norm='batch', seed=0"):
        summarize(runs, "norm", "test_accuracy")
    with pytest.raises(ValueError, match="no column 'accuracy'"):
        summarize(runs, "norm", "accuracy")
    with pytest.raises(ValueError, match="'norm' is not numeric"):
        summarize(runs, ["batch_size"], "norm")
    with pytest.raises(ValueError, match="without a seed"):
        summarize(runs.assign(seed=np.nan), ["norm", "batch_size"], "test_accuracy")
    with pytest.raises(ValueError, match="level=95"):
        summarize(runs, ["norm", "batch_size"], "test_accuracy", level=95)


@pytest.mark.parametrize("name", ["seed", "value", "diverged", "n", "mean", "method"])
def test_an_axis_may_not_have_the_name_of_a_result(study, name):
    runs = study({"batch": 0.0}).drop(columns="batch_size").assign(**{name: 0})
    with pytest.raises(ValueError, match=f"axis '{name}' has the name of a column of the result: rename the axis"):
        summarize(runs, ["norm", name], "test_accuracy")


@pytest.mark.parametrize("name", ["step", "test_accuracy:[x].y", "[a]", "a.b: c"])
def test_any_other_name_is_an_axis(study, name):
    runs = study({"batch": 0.0}, batch_sizes=(2, 16)).rename(columns={"batch_size": name})
    assert summarize(runs, ["norm", name], "test_accuracy")[name].tolist() == [2, 16]
