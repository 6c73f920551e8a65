import numpy as np
import pandas as pd
import pytest

from normbench.stats import Criterion, best_over, best_runs, compare_all_pairs, mark_best, summarize

pytestmark = pytest.mark.filterwarnings("error")


def marks(runs, **arguments):
    table = mark_best(runs, "test_accuracy", "norm", **arguments)
    return dict(zip(table["norm"], table["mark"], strict=True))


def test_a_clear_winner_is_best_and_the_others_are_not(study):
    runs = study({"batch": 0.0, "group": 0.05, "layer": 0.02}, sd=0.001).drop(columns="batch_size")
    assert marks(runs) == {"batch": "", "group": "best", "layer": ""}
    assert marks(runs, criterion=Criterion(higher_is_better=False)) == {
        "batch": "best",
        "group": "",
        "layer": "",
    }


def test_means_that_cannot_be_told_apart_are_tied(study):
    runs = study({"batch": 0.05, "group": 0.05, "layer": 0.02}, sd=0.001).drop(columns="batch_size")
    assert marks(runs) == {"batch": "tied", "group": "tied", "layer": ""}
    runs = study({"batch": 0.0, "group": 0.001}, sd=0.01).drop(columns="batch_size")
    assert marks(runs) == {"batch": "tied", "group": "tied"}


def test_every_column_has_its_own_best(study):
    runs = pd.concat(
        [
            study({"batch": 0.05, "group": 0.0}, batch_sizes=(16,)),
            study({"batch": 0.0, "group": 0.05}, batch_sizes=(2,), draw=1),
        ]
    )
    table = mark_best(runs, "test_accuracy", "norm", across="batch_size")
    assert table[["batch_size", "norm", "mark"]].to_numpy().tolist() == [
        [2, "batch", ""],
        [2, "group", "best"],
        [16, "batch", "best"],
        [16, "group", ""],
    ]
    assert table["mean"].tolist() == pytest.approx(
        summarize(runs, ["batch_size", "norm"], "test_accuracy")["mean"].tolist()
    )
    shuffled = runs.sample(frac=1, random_state=5)
    pd.testing.assert_frame_equal(
        table, mark_best(shuffled, "test_accuracy", "norm", across="batch_size"), check_exact=True
    )


def test_p_is_that_of_all_pairs_of_the_column(study):
    runs = study({"batch": 0.0, "group": 0.004, "layer": 0.0}).drop(columns="batch_size")
    table = mark_best(runs, "test_accuracy", "norm").set_index("norm")
    pairs = compare_all_pairs(runs, "test_accuracy", "norm").set_index(["baseline", "treatment"])
    assert table["mean"].idxmax() == "group"
    assert np.isnan(table.loc["group", "p_holm"])
    assert table.loc["batch", "p_holm"] == pairs.loc[("batch", "group"), "p_holm"]
    assert table.loc["layer", "p_holm"] == pairs.loc[("group", "layer"), "p_holm"]


def test_the_test_of_the_criterion_is_used(study):
    runs = study({"batch": 0.0, "group": 0.05}, sd=0.001).drop(columns="batch_size")
    assert marks(runs) == {"batch": "", "group": "best"}
    # Five pairs can never give a small exact p.
    assert marks(runs, criterion=Criterion(test="sign-flip")) == {"batch": "tied", "group": "tied"}


def test_equal_norms_are_told_apart_at_most_at_the_level():
    trials, norms, n = 500, 5, 5
    values = np.random.default_rng(11).normal(size=(trials, norms, n))
    trial, norm, seed = (axis.ravel() for axis in np.indices(values.shape))
    runs = pd.DataFrame({"trial": trial, "norm": norm, "seed": seed, "score": values.ravel()})
    table = mark_best(runs, "score", "norm", across="trial")
    fooled = (table["mark"] != "tied").groupby(table["trial"]).any().mean()
    assert fooled <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / trials)
    assert not (table.groupby("trial")["mark"].agg(set) == {"best"}).any()


def test_one_seed_tells_nothing_apart(study):
    runs = study({"batch": 0.0, "group": 0.5}, seeds=[0]).drop(columns="batch_size")
    assert marks(runs) == {"batch": "tied", "group": "tied"}


def test_alone_or_without_a_mean_is_not_marked(study):
    runs = study({"batch": 0.0, "group": 0.0}).drop(columns="batch_size")
    assert marks(runs[runs["norm"] == "batch"]) == {"batch": ""}
    hit = runs["norm"] == "group"
    runs.loc[hit, "diverged_at_step"] = 3
    assert marks(runs) == {"batch": "", "group": ""}
    assert marks(runs, criterion=Criterion(chance=0.1)) == {"batch": "best", "group": ""}


def test_pairs_that_contradict_the_means_tell_nothing_apart():
    """Group has the better mean only because it lacks the hard seeds; within the seed it loses."""
    easy, hard = np.array([0.90, 0.91, 0.92]), np.array([0.50, 0.51])
    runs = pd.DataFrame(
        {
            "norm": ["batch"] * 5 + ["group"] * 3,
            "seed": [0, 1, 2, 3, 4, 0, 1, 2],
            "test_accuracy": [*easy, *hard, *(easy - [0.0100, 0.0101, 0.0102])],
        }
    )
    assert marks(runs) == {"batch": "tied", "group": "tied"}


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


def test_chosen_on_validation_and_reported_on_test():
    runs = tuned_runs().sample(frac=1, random_state=0)
    table = best_over(runs, "lr", "norm", select="val_accuracy", report="test_accuracy")
    assert table[["norm", "lr", "candidates", "at_edge", "n"]].to_numpy().tolist() == [
        ["a", 0.1, 3, False, 2],
        ["b", 0.01, 2, True, 2],
    ]
    assert table["mean"].tolist() == pytest.approx([0.89, 0.92])
    assert table["select_mean"].tolist() == pytest.approx([0.905, 0.94])


def test_smallest_is_best_for_a_loss():
    runs = tuned_runs()
    runs[["val_nll", "test_nll"]] = -runs[["val_accuracy", "test_accuracy"]]
    table = best_over(runs, "lr", ["norm"], select="val_nll", report="test_nll", higher_is_better=False)
    assert table["lr"].tolist() == [0.1, 0.01]


def test_best_runs_can_be_compared_further():
    winners = best_runs(tuned_runs(), "lr", "norm", "val_accuracy")
    assert set(zip(winners["norm"], winners["lr"], strict=True)) == {("a", 0.1), ("b", 0.01)}
    assert compare_all_pairs(winners, "test_accuracy", "norm")["pairs"].tolist() == [2]


@pytest.mark.parametrize("chance", [None, 0.1])
def test_a_candidate_is_not_chosen_for_its_survivors(chance):
    runs = tuned_runs()
    hit = (runs["norm"] == "a") & (runs["lr"] == 0.1) & (runs["seed"] == 0)
    runs.loc[hit, "diverged_at_step"] = 5
    runs.loc[hit, ["val_accuracy", "test_accuracy"]] = np.nan
    arguments = {"select": "val_accuracy", "report": "test_accuracy", "chance": chance}
    assert best_over(runs, "lr", "norm", **arguments)["lr"].tolist() == [0.01, 0.01]


def test_all_candidates_diverged():
    runs = tuned_runs().assign(val_accuracy=np.nan, test_accuracy=np.nan, diverged_at_step=1)
    table = best_over(runs, "lr", "norm", select="val_accuracy", report="test_accuracy")
    assert table["diverged"].tolist() == [2, 2]
    assert table["mean"].isna().all()


def test_choice_and_report_must_differ():
    with pytest.raises(ValueError, match="both 'test_accuracy'"):
        best_over(tuned_runs(), "lr", "norm", select="test_accuracy", report="test_accuracy")
    with pytest.raises(ValueError, match=r"several rows for norm='a', lr=0\.1, seed=0"):
        best_over(tuned_runs().assign(lr=0.1), "lr", "norm", select="val_accuracy", report="test_accuracy")
