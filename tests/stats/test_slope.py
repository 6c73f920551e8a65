import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.api import OLS, add_constant

from normbench.stats import Criterion, estimates, seed_slopes, slope_differences, slope_per_doubling

pytestmark = pytest.mark.filterwarnings("error")

BATCH_SIZES = (2, 8, 16, 64)  # not evenly spaced, in log2 either


def sloped(slopes, seeds=range(5), sd=0.001, draw=0):
    """Accuracy 0.8 + slope log2(batch size), on a level that differs much between the seeds."""
    rng = np.random.default_rng(draw)
    rows = [
        {
            "norm": norm,
            "batch_size": size,
            "seed": seed,
            "test_accuracy": 0.8 + 0.1 * seed + slope * np.log2(size),
        }
        for norm, slope in slopes.items()
        for seed in seeds
        for size in BATCH_SIZES
    ]
    runs = pd.DataFrame(rows)
    runs["test_accuracy"] += rng.normal(0, sd, len(runs))
    return runs.assign(diverged_at_step=np.nan)


def test_slope_of_a_seed_is_least_squares_and_their_interval_student_t():
    runs = sloped({"batch": 0.02, "group": 0.0})
    slopes = seed_slopes(runs.sample(frac=1, random_state=2), "test_accuracy")
    for row in slopes.itertuples():
        line = runs[(runs["norm"] == row.norm) & (runs["seed"] == row.seed)]
        fitted = OLS(line["test_accuracy"].to_numpy(), add_constant(np.log2(line["batch_size"].to_numpy())))
        assert row.slope == pytest.approx(fitted.fit().params[1])
    table = slope_per_doubling(runs, "test_accuracy").set_index("norm")
    of_batch = slopes[slopes["norm"] == "batch"]["slope"]
    interval = stats.ttest_1samp(of_batch, 0).confidence_interval(0.95)
    assert table.loc["batch", ["mean", "ci_low", "ci_high"]].tolist() == pytest.approx(
        [of_batch.mean(), interval.low, interval.high]
    )
    assert table.loc["batch", ["seeds", "n_used", "points", "method"]].tolist() == [5, 5, 4, "Student t"]
    assert table.loc["batch", "mean"] == pytest.approx(0.02, abs=0.001)
    # The level differs by 0.1 between seeds; it would swamp the slope, were the seeds not kept apart.
    assert table.loc["batch", "ci_high"] - table.loc["batch", "ci_low"] < 0.002


def test_interval_of_the_slope_covers_what_it_promises():
    trials = 400
    rng = np.random.default_rng(8)
    trial, seed, point = (axis.ravel() for axis in np.indices((trials, 4, 3)))
    # Each seed has its own slope, so that a regression over all runs at once would be too sure.
    own = rng.normal(0.01, 0.004, (trials, 4))[trial, seed]
    runs = pd.DataFrame({"trial": trial, "seed": seed, "batch_size": 2**point, "y": own * point})
    table = slope_per_doubling(runs, "y", by="trial")
    covered = np.mean((table["ci_low"] <= 0.01) & (table["ci_high"] >= 0.01))
    assert covered == pytest.approx(0.95, abs=3 * np.sqrt(0.95 * 0.05 / trials))


def test_incomplete_seed_is_left_out():
    runs = sloped({"batch": 0.02})
    runs = runs[~((runs["seed"] == 0) & (runs["batch_size"] == 2))]
    runs.loc[(runs["seed"] == 3) & (runs["batch_size"] == 8), "diverged_at_step"] = 9
    row = slope_per_doubling(runs, "test_accuracy").iloc[0]
    assert (row["seeds"], row["n_used"], row["diverged"]) == (5, 3, 1)
    assert row["mean"] == pytest.approx(0.02, abs=0.001)


def test_slopes_of_norms_are_compared_like_any_metric():
    runs = sloped({"batch": 0.02, "group": 0.0})
    frame = slope_differences(runs, "test_accuracy", "norm", "batch", "batch_size")
    row = estimates(frame, Criterion(), family=1).iloc[0]
    assert row["diff"] == pytest.approx(-0.02, abs=0.001)
    assert row["verdict"] == "worse"


def test_other_axes_and_a_single_point():
    runs = sloped({"batch": 0.02}).rename(columns={"batch_size": "images_per_statistic"})
    table = slope_per_doubling(runs, "test_accuracy", axis="images_per_statistic", by=[])
    assert table["mean"].tolist() == pytest.approx([0.02], abs=0.001)
    single = slope_per_doubling(runs[runs["images_per_statistic"] == 2], "test_accuracy", axis="images_per_statistic")
    assert single[["n_used", "method"]].to_numpy().tolist() == [[0, "none (n=0)"]]


@pytest.mark.parametrize("value", [0, "full"])
def test_axis_without_a_logarithm_is_an_error(value):
    runs = sloped({"batch": 0.02}).astype({"batch_size": object})
    runs["batch_size"] = runs["batch_size"].replace({2: value}).infer_objects()
    with pytest.raises(ValueError, match="'batch_size' is not positive and numeric"):
        slope_per_doubling(runs, "test_accuracy")
