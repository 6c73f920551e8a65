import numpy as np
import pandas as pd
import pytest
from scipy import stats

from normbench.stats import Criterion, Looks, estimates, estimates_at_look, level_differences, open_contrasts

pytestmark = pytest.mark.filterwarnings("error")

LOOKS = Looks((3, 5, 10), (0.2, 0.3, 0.5))
SEEDS = range(10)


def runs_of(effects, seeds=SEEDS, sd=0.001, draw=0):
    rng = np.random.default_rng(draw)
    shared = rng.normal(0.9, 0.01, len(seeds))
    return pd.DataFrame(
        [
            {"norm": norm, "seed": seed, "acc": shared[i] + effect + rng.normal(0, sd)}
            for norm, effect in effects.items()
            for i, seed in enumerate(seeds)
        ]
    )


def looked(runs, done, criterion=Criterion(), **more):  # noqa: B008
    differences = level_differences(runs, "acc", "norm", "a")
    arguments = {"looks": LOOKS, "seeds": SEEDS, "family": runs["norm"].nunique() - 1} | more
    return estimates_at_look(differences, criterion, done=done, **arguments)


def test_a_look_spends_its_share():
    runs = runs_of({"a": 0.0, "b": 0.0, "c": 0.5})
    table = looked(runs, 1).set_index("treatment")
    assert table["alpha"].tolist() == pytest.approx([0.01, 0.01])
    assert table["pairs"].tolist() == [3, 3]
    assert set(table["error"]) == {"shrunk"}
    first = level_differences(runs[runs["seed"] < 3], "acc", "norm", "a")
    alone = estimates(first, Criterion(alpha=0.01, error="shrunk"), family=2).set_index("treatment")
    assert table["low"].tolist() == alone["low"].tolist()
    assert sum(LOOKS.alpha(look, 0.05) for look in range(3)) == pytest.approx(0.05)


def test_a_decision_stands_and_the_open_go_on():
    runs = runs_of({"a": 0.0, "b": 0.0, "c": 0.5})
    at = [looked(runs, done).set_index("treatment") for done in range(4)]
    assert at[0]["verdict"].tolist() == ["open", "open"]
    assert set(at[0]["reason"]) == {"before the first look"}
    assert at[1]["verdict"].tolist() == ["open", "better"]
    assert at[1]["interim"].tolist() == [True, False]
    assert len(open_contrasts(at[1])) == 1
    for table in at[2:]:
        pd.testing.assert_series_equal(table.loc["c"], at[1].loc["c"])  # later seeds change nothing
    assert at[3].loc["b", ["look", "pairs", "error"]].tolist() == [3, 10, "paired"]
    assert not at[3]["interim"].any()


def test_the_order_of_the_planned_seeds_counts():
    runs = runs_of({"a": 0.0, "b": 0.0}, seeds=[5, 1, 9, 2, 3, 4, 6, 7, 8, 0])
    table = looked(runs, 1, seeds=[5, 1, 9, 2, 3, 4, 6, 7, 8, 0])
    first = runs[runs["seed"].isin([5, 1, 9])].pivot(index="seed", columns="norm", values="acc")
    assert table["diff"].iloc[0] == pytest.approx((first["b"] - first["a"]).mean())


def whole_studies(effect, trials=150, norms=4):
    """Verdicts (trials x norms - 1) of the whole procedure, and of testing at the full level at every look.

    As `normbench run` does it: after a look only the levels of open contrasts, and the baseline, get more seeds.
    """
    rng = np.random.default_rng(4)
    verdicts, unsplit = [], []
    for _ in range(trials):
        values = rng.normal(0, 1, (1, 10)) + rng.normal(0, 0.5, (norms, 10))
        values[1:] += effect
        norm, seed = (axis.ravel() for axis in np.indices(values.shape))
        runs = pd.DataFrame({"norm": norm, "seed": seed, "acc": values.ravel()})
        arguments = {"looks": LOOKS, "seeds": SEEDS, "family": norms - 1}
        trained = runs[runs["seed"] < LOOKS.seeds[0]]
        for done in (1, 2, 3):
            differences = level_differences(trained, "acc", "norm", 0)
            table = estimates_at_look(differences, Criterion(), done=done, **arguments)
            left = table.loc[table["id"].isin(open_contrasts(table)), "treatment"].tolist()
            if done == 3 or not left:
                break
            more = runs["seed"].between(LOOKS.seeds[done - 1], LOOKS.seeds[done] - 1) & runs["norm"].isin([0, *left])
            trained = pd.concat([trained, runs[more]])
        verdicts.append(table)
        p = [stats.ttest_rel(values[1:, :n], values[:1, :n], axis=1).pvalue.min() for n in LOOKS.seeds]
        unsplit.append(min(p) * (norms - 1) < 0.05)
    return pd.concat(verdicts), np.mean(unsplit)


def test_the_whole_procedure_keeps_its_level_and_looking_again_does_not():
    table, unsplit = whole_studies(0.0)
    erred = (table["verdict"] != "open").to_numpy().reshape(150, -1).any(axis=1).mean()
    assert erred <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 150)
    assert unsplit > erred + 0.02


def test_the_whole_procedure_stops_early_where_it_can():
    table, _ = whole_studies(4.0, trials=60)
    assert (table["verdict"] == "better").mean() > 0.95
    assert table["pairs"].mean() < 6  # of ten


def test_errors_name_the_culprit():
    with pytest.raises(ValueError, match=r"spend=\(0.5, 0.6\): give shares above 0 that sum to 1, not 1.1"):
        Looks((3, 5), (0.5, 0.6))
    with pytest.raises(ValueError, match="differ in length"):
        Looks((3, 5), (1.0,))
    for seeds in ((5, 3), (1, 3), (3, 3)):
        with pytest.raises(ValueError, match="growing numbers of seeds"):
            Looks(seeds, (0.5, 0.5))
    runs = runs_of({"a": 0.0, "b": 0.0})
    with pytest.raises(ValueError, match="seeds has 4 values: the last look needs 10"):
        looked(runs, 1, seeds=range(4))
    with pytest.raises(ValueError, match="done=4"):
        looked(runs, 4)
