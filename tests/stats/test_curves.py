import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.duration.survfunc import SurvfuncRight

from normbench.stats import cost_to_target, kaplan_meier_median, summarize_cost
from normbench.stats.curves import with_runs

pytestmark = pytest.mark.filterwarnings("error")


def curve(run_id, values, metric="accuracy", split="val", every=100):
    steps = np.arange(1, len(values) + 1) * every
    return pd.DataFrame(
        {
            "run_id": run_id,
            "step": steps,
            "samples": steps * 16,
            "seconds": steps / 50,
            "split": split,
            "metric": metric,
            "value": values,
        }
    )


@pytest.fixture
def curves():
    return pd.concat(
        [
            curve("a", [0.5, 0.9, 0.8, 0.95]),
            curve("b", [0.5, 0.6, 0.7]),
            curve("c", [0.9]),
            curve("c", [0.99, 0.99], split="train"),
            curve("d", [0.4, np.nan]),
            curve("e", [3.0, 0.1], metric="loss"),
        ]
    ).sample(frac=1, random_state=0)


def test_cost_is_that_of_the_first_evaluation_at_the_target(curves):
    table = cost_to_target(curves, "accuracy", 0.9)
    assert table["run_id"].tolist() == ["a", "b", "c", "d", "e"]
    assert table["cost"].tolist() == [3200, 4800, 1600, 3200, 0]
    assert table["censored"].tolist() == [False, True, False, True, True]
    assert cost_to_target(curves, "accuracy", 0.9, cost="step")["cost"].tolist() == [200, 300, 100, 200, 0]
    assert cost_to_target(curves, "accuracy", 0.9, cost="seconds")["cost"].tolist() == [4, 6, 2, 4, 0]


def test_loss_is_passed_downwards(curves):
    table = cost_to_target(curves, "loss", 0.1, higher_is_better=False, cost="step").set_index("run_id")
    assert table.loc["e"].tolist() == [200, False]


def test_budget_censors_what_comes_later(curves):
    table = cost_to_target(curves, "accuracy", 0.9, cost="step", budget=150).set_index("run_id")
    assert table.loc["a"].tolist() == [100, True]
    assert table.loc["c"].tolist() == [100, False]


def test_diverged_run_never_reaches(curves):
    table = cost_to_target(curves, "accuracy", 0.9, diverged={"d", "a"}).set_index("run_id")
    assert table.loc["d"].tolist() == [np.inf, True]
    assert table.loc["a"].tolist() == [3200, False]  # it had reached the target before


def test_kaplan_meier_median_agrees_with_scipy_and_statsmodels():
    rng = np.random.default_rng(0)
    for n in (5, 12, 41):
        reached_at, watched_to = rng.permutation(n) + 1.0, rng.uniform(0, 2 * n, n)
        censored = watched_to < reached_at
        cost = np.minimum(reached_at, watched_to)
        left = stats.ecdf(stats.CensoredData.right_censored(cost, censored)).sf
        expected = left.quantiles[np.argmax(left.probabilities <= 0.5)]
        assert kaplan_meier_median(cost, censored) == expected
        # statsmodels asks for strictly more than half; a hair less than that is half.
        assert kaplan_meier_median(cost, censored) == SurvfuncRight(cost, ~censored).quantile(0.5 - 1e-9)
        assert censored.any()


@pytest.mark.parametrize("n", range(2, 30, 2))
def test_kaplan_meier_median_is_reached_by_exactly_half(n):
    assert kaplan_meier_median(np.arange(1, n + 1), np.zeros(n, dtype=bool)) == n / 2


def test_kaplan_meier_median_of_few():
    none = np.zeros(3, dtype=bool)
    assert kaplan_meier_median(np.array([30, 10, 20]), none) == 20
    assert np.isnan(kaplan_meier_median(np.array([10.0, 20, 20]), np.array([False, True, True])))
    # A diverged run never reaches the target; of a run that was stopped at once nothing is known.
    censored = np.array([False, False, True, True])
    assert kaplan_meier_median(np.array([10, 20, np.inf, np.inf]), censored) == 20
    assert kaplan_meier_median(np.array([10.0, 20, 0, 0]), censored) == 10
    assert np.isnan(kaplan_meier_median(np.array([10, np.inf, np.inf]), censored[1:]))
    assert np.isnan(kaplan_meier_median(np.array([10.0, 20]), np.array([True, True])))


def test_summary_of_costs():
    costs = pd.DataFrame(
        {
            "norm": ["batch"] * 3 + ["none"] * 3 + ["group"] * 2,
            "cost": [100, 300, 200, 500, 900, 900, 900, 900],
            "censored": [False, False, False, False, True, True, True, True],
        }
    )
    table = summarize_cost(costs, "norm").set_index("norm")
    assert table.loc["batch"].tolist() == [3, 3, 200, 100, ""]
    assert table.loc["none", ["n", "reached", "first", "note"]].tolist() == [
        3,
        1,
        500,
        "not reached by 2 of 3",
    ]
    assert np.isnan(table.loc["none", "median"])
    assert table.loc["group", "note"] == "not reached by 2 of 2"
    assert table.loc["group", ["median", "first"]].isna().all()


def test_errors_name_the_culprit(curves):
    with pytest.raises(ValueError, match=r"no test/accuracy: it has \['train/accuracy', 'val/accuracy', 'val/loss'\]"):
        cost_to_target(curves, "accuracy", 0.9, split="test")
    with pytest.raises(ValueError, match="curves has no column 'seconds'"):
        cost_to_target(curves.drop(columns="seconds"), "accuracy", 0.9, cost="seconds")
    with pytest.raises(ValueError, match="costs has no column 'norm'"):
        summarize_cost(cost_to_target(curves, "accuracy", 0.9), "norm")


@pytest.mark.parametrize("ids", [["a", "b", "c"], ["c", "a", "a", "b"], ["b", "c"]], ids=["all", "in two cells", "few"])
def test_points_get_the_columns_of_their_runs(curves, ids):
    points = curves.assign(run_id=pd.Categorical(curves["run_id"])).reset_index(drop=True)
    runs = pd.DataFrame({"norm": list("xyzu")[: len(ids)], "seed": range(len(ids))}, index=ids)
    runs["diverged_at_step"] = pd.array([None, 7, 8, 9][: len(ids)], dtype="Int64")
    found, expected = (
        frame.astype({"run_id": "str"}) for frame in (with_runs(points, runs), points.join(runs, on="run_id"))
    )
    pd.testing.assert_frame_equal(found, expected)
