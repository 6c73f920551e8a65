import numpy as np
import pandas as pd
import pytest
from scipy import stats

from normbench.stats import cost_ratios

pytestmark = pytest.mark.filterwarnings("error")


def timings(rounds=6, draw=0, ratio=1.4, cells=("cnn",)):
    """A machine that slows down, and a norm that costs `ratio` times the baseline throughout."""
    rng = np.random.default_rng(draw)
    rows = []
    for cell in cells:
        for turn in range(rounds):
            for norm, factor in (("none", 1.0), ("batch", ratio)):
                seconds = 3 * (1 + turn) * factor * np.exp(rng.normal(0, 0.02))
                rows.append({"model": cell, "round": turn, "norm": norm, "seconds": seconds})
    return pd.DataFrame(rows)


def test_ratio_is_taken_within_the_round_on_the_log_scale():
    frame = timings()
    table = cost_ratios(frame.sample(frac=1, random_state=0), "norm", "none", across="model").set_index("norm")
    wide = np.log(frame.pivot(index="round", columns="norm", values="seconds"))
    expected = stats.ttest_1samp(wide["batch"] - wide["none"], 0).confidence_interval()
    row = table.loc["batch"]
    assert (row["low"], row["high"]) == pytest.approx((np.exp(expected.low), np.exp(expected.high)))
    assert row["low"] < 1.4 < row["high"] < 1.5  # though the machine's speed changes sixfold
    assert table.loc["none", ["ratio", "low", "high"]].tolist() == [1, 1, 1]
    assert table.loc["none", "cost"] == pytest.approx(frame[frame["norm"] == "none"]["seconds"].median(), rel=0.02)


def test_a_ratio_and_its_inverse_agree():
    frame = timings()
    one = cost_ratios(frame, "norm", "none").set_index("norm").loc["batch"]
    other = cost_ratios(frame, "norm", "batch").set_index("norm").loc["none"]
    assert one["ratio"] == pytest.approx(1 / other["ratio"])
    assert one["low"] == pytest.approx(1 / other["high"])


def test_the_interval_covers_what_it_promises():
    covered = []
    for draw in range(400):
        row = cost_ratios(timings(rounds=4, draw=draw), "norm", "none").set_index("norm").loc["batch"]
        covered.append(row["low"] <= 1.4 <= row["high"])
    assert np.mean(covered) == pytest.approx(0.95, abs=0.035)


def test_few_rounds_and_missing_ones():
    frame = timings(cells=("cnn", "mlp"))
    frame = frame[~((frame["model"] == "mlp") & (frame["norm"] == "none") & (frame["round"] > 0))]
    table = cost_ratios(frame, "norm", "none", across="model").set_index(["model", "norm"])
    assert table.loc[("mlp", "batch"), "rounds"] == 1
    assert np.isnan(table.loc[("mlp", "batch"), "low"])
    family = cost_ratios(frame, "norm", "none", across="model", family=8).set_index(["model", "norm"])
    assert family.loc[("cnn", "batch"), "low"] < table.loc[("cnn", "batch"), "low"]


def test_errors_name_the_culprit():
    frame = timings()
    with pytest.raises(ValueError, match="'seconds' that is not positive"):
        cost_ratios(frame.assign(seconds=0.0), "norm", "none")
    with pytest.raises(ValueError, match="twice in one 'round'"):
        cost_ratios(frame.assign(round=0), "norm", "none")
    with pytest.raises(ValueError, match="'layer' is no value of 'norm'"):
        cost_ratios(frame, "norm", "layer")
