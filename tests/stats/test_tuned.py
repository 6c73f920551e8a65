import numpy as np
import pandas as pd
import pytest

from normbench.stats import chosen_runs, chosen_values, summarize
from tests.stats.conftest import pair_differences

pytestmark = pytest.mark.filterwarnings("error")


def tuned_runs():
    """Validation prefers 0.1 for a and 0.01 for b; test would prefer another value for each."""
    cells = {
        ("a", 0.01): ([0.80, 0.82], [0.99, 0.99]),
        ("a", 0.1): ([0.90, 0.91], [0.88, 0.90]),
        ("a", 1.0): ([0.70, 0.72], [0.10, 0.10]),
        ("b", 0.01): ([0.95, 0.93], [0.91, 0.93]),
        ("b", 0.1): ([0.60, 0.62], [0.99, 0.99]),
    }
    return pd.DataFrame(
        [
            {"norm": norm, "lr": lr, "seed": seed, "val_accuracy": val[seed], "test_accuracy": test[seed]}
            for (norm, lr), (val, test) in cells.items()
            for seed in (0, 1)
        ]
    ).assign(diverged_at_step=np.nan)


def reported(runs, choice):
    return summarize(chosen_runs(runs, choice, ["norm", "lr"]), ["norm", "lr"], "test_accuracy")


def test_chosen_on_validation_and_reported_on_test():
    runs = tuned_runs().sample(frac=1, random_state=0)
    choice = chosen_values(runs, "lr", "norm", "val_accuracy")
    assert choice[["norm", "lr", "candidates", "at_edge"]].to_numpy().tolist() == [
        ["a", 0.1, 3, False],
        ["b", 0.01, 2, True],
    ]
    assert choice["select_mean"].tolist() == pytest.approx([0.905, 0.94])
    assert reported(runs, choice)["mean"].tolist() == pytest.approx([0.89, 0.92])


def test_smallest_is_best_for_a_loss():
    runs = tuned_runs().assign(val_nll=lambda frame: -frame["val_accuracy"])
    assert chosen_values(runs, "lr", ["norm"], "val_nll", higher_is_better=False)["lr"].tolist() == [0.1, 0.01]


def test_chosen_runs_can_be_compared_further():
    runs = tuned_runs()
    winners = chosen_runs(runs, chosen_values(runs, "lr", "norm", "val_accuracy"), ["norm", "lr"])
    assert set(zip(winners["norm"], winners["lr"], strict=True)) == {("a", 0.1), ("b", 0.01)}
    assert pair_differences(winners, "test_accuracy", "norm")["diff"].notna().sum() == 2


def test_a_candidate_is_not_chosen_for_its_survivors():
    runs = tuned_runs()
    hit = (runs["norm"] == "a") & (runs["lr"] == 0.1) & (runs["seed"] == 0)
    runs.loc[hit, "diverged_at_step"] = 5
    runs.loc[hit, ["val_accuracy", "test_accuracy"]] = np.nan
    assert chosen_values(runs, "lr", "norm", "val_accuracy")["lr"].tolist() == [0.01, 0.01]


def test_all_candidates_diverged():
    runs = tuned_runs().assign(val_accuracy=np.nan, test_accuracy=np.nan, diverged_at_step=1)
    choice = chosen_values(runs, "lr", "norm", "val_accuracy")
    assert choice["select_mean"].isna().all()
    assert reported(runs, choice)["diverged"].tolist() == [2, 2]


def test_several_runs_of_a_candidate_and_seed_are_refused():
    with pytest.raises(ValueError, match=r"several rows for norm='a', lr=0\.1, seed=0"):
        chosen_values(tuned_runs().assign(lr=0.1), "lr", "norm", "val_accuracy")


def half_finished(done):
    """Validation accuracies of candidates over the seeds that they have."""
    rows = [
        {"norm": "a", "lr": lr, "seed": seed, "val_accuracy": value}
        for lr, values in done.items()
        for seed, value in values.items()
    ]
    return pd.DataFrame(rows).assign(diverged_at_step=np.nan)


def test_one_lucky_seed_cannot_beat_five():
    five = dict(enumerate([0.90, 0.91, 0.89, 0.90, 0.92]))
    runs = half_finished({0.01: five, 0.1: {0: 0.99}, 1.0: dict(enumerate([0.5] * 5))})
    row = chosen_values(runs, "lr", "norm", "val_accuracy").iloc[0]
    assert row[["lr", "seeds", "complete", "at_edge"]].tolist() == [0.01, 5, False, True]


def test_candidates_are_compared_on_the_seeds_that_they_share():
    # 0.1 has the better mean only because it lacks the hard seed 2.
    runs = half_finished({0.01: {0: 0.95, 1: 0.96, 2: 0.60}, 0.1: {0: 0.94, 1: 0.95, 3: 0.95}})
    row = chosen_values(runs, "lr", "norm", "val_accuracy").iloc[0]
    assert row[["lr", "seeds", "complete"]].tolist() == [0.01, 2, False]
    assert row["select_mean"] == pytest.approx(0.955)
    whole = half_finished({0.01: {0: 0.95, 1: 0.96}, 0.1: {0: 0.94, 1: 0.95}})
    assert chosen_values(whole, "lr", "norm", "val_accuracy")["complete"].tolist() == [True]


def test_edges_are_those_of_the_plan():
    runs = half_finished({0.01: {0: 0.95}, 0.1: {0: 0.94}})
    planned = pd.DataFrame({"norm": "a", "lr": [0.001, 0.01, 0.1]})
    row = chosen_values(runs, "lr", "norm", "val_accuracy", planned=planned).iloc[0]
    assert row[["lr", "candidates", "at_edge", "complete"]].tolist() == [0.01, 3, False, False]


def test_one_rate_can_be_shared_by_all_norms():
    runs = tuned_runs()
    runs = runs[runs["lr"] < 1]
    shared = chosen_values(runs, "lr", [], "val_accuracy", over="norm")
    assert shared[["lr", "seeds", "complete"]].to_numpy().tolist() == [[0.01, 4, True]]
    assert shared["select_mean"].tolist() == pytest.approx([0.875])
    winners = chosen_runs(runs, shared, ["lr"])
    assert set(winners["lr"]) == {0.01}
    assert len(winners) == 4
