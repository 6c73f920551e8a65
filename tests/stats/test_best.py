import numpy as np
import pandas as pd
import pytest

from normbench.stats import Criterion, estimates, mark_best, summarize
from tests.stats.conftest import pair_differences

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
    pd.testing.assert_frame_equal(table, mark_best(shuffled, "test_accuracy", "norm", across="batch_size"), rtol=1e-9)


def test_p_is_that_of_all_pairs_of_the_column(study):
    runs = study({"batch": 0.0, "group": 0.004, "layer": 0.0}).drop(columns="batch_size")
    table = mark_best(runs, "test_accuracy", "norm").set_index("norm")
    pairs = estimates(pair_differences(runs, "test_accuracy", "norm"), Criterion(), family=3)
    pairs = pairs.set_index(["baseline", "treatment"])
    assert table["mean"].idxmax() == "group"
    assert np.isnan(table.loc["group", "p_adjusted"])
    assert table.loc["batch", "p_adjusted"] == pairs.loc[("batch", "group"), "p_adjusted"]
    assert table.loc["layer", "p_adjusted"] == pairs.loc[("group", "layer"), "p_adjusted"]


def test_the_family_is_what_the_cell_declares(study):
    runs = study({"batch": 0.0, "group": 0.006, "layer": 0.001}, sd=0.001)
    planned = pd.DataFrame({"norm": [*"abcde", "batch", "group", "layer"], "batch_size": 16})
    alone = mark_best(runs, "test_accuracy", "norm", across="batch_size")
    whole = mark_best(runs, "test_accuracy", "norm", across="batch_size", planned=planned)
    assert (set(alone["family"]), set(whole["family"])) == ({3}, {28})
    assert whole["p_adjusted"].max() == pytest.approx(alone["p_adjusted"].max() * 28 / 3)
    with pytest.raises(ValueError, match="planned has 2 levels of 'norm' at"):
        mark_best(runs, "test_accuracy", "norm", across="batch_size", planned=planned.tail(2))


@pytest.mark.parametrize("error", ["paired", "shrunk", "pooled"])
def test_the_error_term_of_the_criterion_is_used(study, error):
    runs = study({"batch": 0.0, "group": 0.05, "layer": 0.0}, seeds=range(3)).drop(columns="batch_size")
    table = mark_best(runs, "test_accuracy", "norm", criterion=Criterion(error=error)).set_index("norm")
    pairs = estimates(pair_differences(runs, "test_accuracy", "norm"), Criterion(error=error), family=3)
    assert table.loc["batch", "p_adjusted"] == pairs.loc[0, "p_adjusted"]


def test_identical_norms_are_tied(study):
    runs = study({"batch": 0.05, "layer": 0.0}, sd=0.001).drop(columns="batch_size")
    copy = runs[runs["norm"] == "batch"].assign(norm="sync_batch")
    assert marks(pd.concat([runs, copy])) == {"batch": "tied", "layer": "", "sync_batch": "tied"}


def test_a_norm_that_diverged_is_not_the_best(study):
    runs = study({"batch": 0.0, "group": 0.05, "layer": -0.03}, sd=0.001).drop(columns="batch_size")
    hit = (runs["norm"] == "group") & (runs["seed"] == 1)
    runs.loc[hit, "diverged_at_step"] = 3
    # Its survivors are better than batch: batch is not bold either.
    assert marks(runs) == {"batch": "tied", "group": "", "layer": ""}


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
