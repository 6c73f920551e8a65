import numpy as np
import pandas as pd
import pytest
from statsmodels.api import OLS, add_constant

from normbench.stats import Criterion, estimates, seed_slopes, slope_differences

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


def test_slope_of_a_seed_is_least_squares():
    runs = sloped({"batch": 0.02, "group": 0.0})
    slopes = seed_slopes(runs.sample(frac=1, random_state=2), "test_accuracy")
    assert slopes["points"].tolist() == [4] * 10
    for row in slopes.itertuples():
        line = runs[(runs["norm"] == row.norm) & (runs["seed"] == row.seed)]
        fitted = OLS(line["test_accuracy"].to_numpy(), add_constant(np.log2(line["batch_size"].to_numpy())))
        assert row.slope == pytest.approx(fitted.fit().params[1])
    # The level differs by 0.1 between seeds; it would swamp the slope, were the seeds not kept apart.
    assert slopes.groupby("norm")["slope"].std().max() < 0.002


def test_incomplete_seed_is_left_out():
    runs = sloped({"batch": 0.02})
    runs = runs[~((runs["seed"] == 0) & (runs["batch_size"] == 2))]
    runs.loc[(runs["seed"] == 3) & (runs["batch_size"] == 8), "diverged_at_step"] = 9
    slopes = seed_slopes(runs, "test_accuracy").set_index("seed")
    assert slopes.index[slopes["slope"].isna()].tolist() == [0, 3]
    assert slopes["diverged"].tolist() == [0, 0, 0, 1, 0]
    assert slopes["slope"].mean() == pytest.approx(0.02, abs=0.001)


def test_slopes_of_norms_are_compared_like_any_metric():
    runs = sloped({"batch": 0.02, "group": 0.0})
    frame = slope_differences(runs, "test_accuracy", "norm", "batch", "batch_size")
    row = estimates(frame, Criterion(), family=1).iloc[0]
    assert row["diff"] == pytest.approx(-0.02, abs=0.001)
    assert row["verdict"] == "worse"


def test_other_axes_and_a_single_point():
    runs = sloped({"batch": 0.02}).rename(columns={"batch_size": "images_per_statistic"})
    slopes = seed_slopes(runs, "test_accuracy", axis="images_per_statistic", by=[])
    assert slopes["slope"].tolist() == pytest.approx([0.02] * 5, abs=0.001)
    single = runs[runs["images_per_statistic"] == 2]
    assert seed_slopes(single, "test_accuracy", axis="images_per_statistic")["slope"].isna().all()


@pytest.mark.parametrize("value", [0, "full"])
def test_axis_without_a_logarithm_is_an_error(value):
    runs = sloped({"batch": 0.02})
    runs["batch_size"] = [value if size == 2 else size for size in runs["batch_size"]]
    with pytest.raises(ValueError, match="'batch_size' is not positive and numeric"):
        seed_slopes(runs, "test_accuracy")
