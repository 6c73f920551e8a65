import numpy as np
import pandas as pd
import pytest
from scipy import stats

from normbench.stats import (
    Along,
    Criterion,
    change_differences,
    estimates,
    family_size,
    level_differences,
    seed_slopes,
    slope_differences,
    within_differences,
)
from normbench.stats.differences import DIFFERENCE_COLUMNS
from tests.stats.conftest import pair_differences

pytestmark = pytest.mark.filterwarnings("error")

SIZES = (2, 8, 32)


@pytest.fixture
def runs(study):
    """Batch norm loses .03 from 32 to 2 images, group norm nothing; the level differs between sizes and seeds."""
    frame = study({"batch": 0.0, "group": 0.01, "layer": 0.0}, batch_sizes=SIZES, draw=3)
    lost = {2: 0.03, 8: 0.01, 32: 0.0}
    frame.loc[frame["norm"] == "batch", "test_accuracy"] -= frame["batch_size"].map(lost)
    return frame


def values(runs, norm, size):
    cell = runs[(runs["norm"] == norm) & (runs["batch_size"] == size)]
    return cell.sort_values("seed")["test_accuracy"].to_numpy()


def test_all_kinds_have_one_shape(runs):
    kinds = [
        level_differences(runs, "test_accuracy", "norm", "batch", across="batch_size"),
        pair_differences(runs, "test_accuracy", "norm", across="batch_size"),
        within_differences(runs, "test_accuracy", "norm", "batch", Along("batch_size", 32)),
        change_differences(runs, "test_accuracy", "norm", "batch", Along("batch_size", 32, [2])),
        slope_differences(runs, "test_accuracy", "norm", "batch", "batch_size"),
    ]
    for frame in kinds:
        assert set(DIFFERENCE_COLUMNS) <= set(frame.columns)
    assert [frame["id"].nunique() for frame in kinds] == [6, 9, 2, 2, 2]
    assert family_size(*kinds) == 21
    together = pd.concat(kinds, ignore_index=True)
    table = estimates(together, Criterion(), family=21)
    assert len(table) == table["id"].nunique() == 21
    assert set(table["contrast"]) == {"levels", "pairs", "within", "changes", "slopes"}
    alone = estimates(kinds[2], Criterion(), family=21)
    assert alone["p"].tolist() == table.loc[table["contrast"] == "within", "p"].tolist()


def test_within_a_level_is_paired_by_seed(runs):
    frame = within_differences(runs, "test_accuracy", "norm", "batch", Along("batch_size", 32, [2]))
    table = estimates(frame, Criterion(), family=1)
    row = table.iloc[0]
    expected = stats.ttest_rel(values(runs, "batch", 2), values(runs, "batch", 32))
    assert row[["norm", "treatment", "baseline", "along"]].tolist() == ["batch", 2, 32, "batch_size"]
    assert row["p"] == pytest.approx(expected.pvalue)
    assert row["diff"] == pytest.approx((values(runs, "batch", 2) - values(runs, "batch", 32)).mean())


def test_difference_of_differences(runs):
    frame = change_differences(runs, "test_accuracy", "norm", "batch", Along("batch_size", 32, [2]))
    table = estimates(frame, Criterion(), family=2).set_index("treatment")
    changes = [values(runs, norm, 2) - values(runs, norm, 32) for norm in ("group", "batch")]
    expected = stats.ttest_rel(*changes)
    assert table.loc["group", "p"] == pytest.approx(expected.pvalue)
    assert table.loc["group", "diff"] == pytest.approx(0.03, abs=0.005)
    assert table.loc["group", "verdict"] == "better"
    assert table.loc["group", "along"] == "batch_size from 32 to 2"
    assert set(frame["block"].map(len)) == {3}


def test_difference_of_slopes(runs):
    frame = slope_differences(runs, "test_accuracy", "norm", "batch", "batch_size", treatments=["group"])
    slopes = seed_slopes(runs, "test_accuracy").pivot(index="seed", columns="norm", values="slope")
    assert frame["diff"].tolist() == pytest.approx((slopes["group"] - slopes["batch"]).tolist())


def test_a_change_lacks_what_either_end_lacks(runs):
    runs.loc[(runs["norm"] == "batch") & (runs["batch_size"] == 2) & (runs["seed"] == 1), "diverged_at_step"] = 4
    runs = runs[~((runs["norm"] == "group") & (runs["batch_size"] == 32) & (runs["seed"] == 0))]
    for frame in (
        change_differences(runs, "test_accuracy", "norm", "batch", Along("batch_size", 32, [2]), treatments=["group"]),
        slope_differences(runs, "test_accuracy", "norm", "batch", "batch_size", treatments=["group"]),
    ):
        by_seed = frame.set_index("seed")
        assert by_seed["diff"].isna().tolist() == [True, True, False, False, False]
        assert by_seed.loc[1, "baseline_state"] == "diverged"
        assert by_seed.loc[0, "treatment_state"] == "not run"


def test_cell_that_neither_side_ran_has_no_row_and_one_side_an_open_one(study):
    runs = study({"batch": 0.0, "group": 0.004, "layer": 0.0}, batch_sizes=(1, 16))
    runs = runs[~((runs["norm"] != "layer") & (runs["batch_size"] == 1))]
    table = estimates(pair_differences(runs, "test_accuracy", "norm", across="batch_size"), Criterion(), family=5)
    assert list(table["batch_size"]) == [1, 1, 16, 16, 16]
    assert table[["pairs", "left_out", "verdict", "reason"]].to_numpy()[0].tolist() == [0, 5, "open", "not run"]


@pytest.mark.parametrize("relabel", [{16: 1, 2: 0}, {16: "16", 2: "2"}, {16: 16, 2: "full"}, {16: "[a: b.c]", 2: "x"}])
def test_axis_values_of_any_kind(study, relabel):
    runs = study({"batch": 0.0, "group": 0.004}, batch_sizes=(16, 2))
    runs["batch_size"] = runs["batch_size"].map(relabel)
    cells = pair_differences(runs, "test_accuracy", "norm", across="batch_size")
    assert cells.groupby("id").size().tolist() == [5, 5]
    within = within_differences(runs, "test_accuracy", "norm", "group", Along("batch_size", relabel[16]))
    assert set(within["treatment"]) == {relabel[2]}


def test_a_number_and_its_text_are_two_levels(study):
    runs = study({"batch": 0.0, "group": 0.004}, batch_sizes=(16, 2))
    runs["batch_size"] = runs["batch_size"].map({16: "1", 2: 1})
    frame = pair_differences(runs, "test_accuracy", "norm", across="batch_size")
    assert frame["id"].nunique() == 2


def test_a_categorical_factor_keeps_its_order(study):
    runs = study({"batch": 0.0, "group": 0.004, "layer": 0.0, "none": 0.0})
    runs["norm"] = pd.Categorical(runs["norm"], ["none", "layer", "group", "batch"])
    frame = level_differences(runs, "test_accuracy", "norm", "group")
    assert list(dict.fromkeys(frame["treatment"])) == ["none", "layer", "batch"]


def test_errors_name_the_culprit(study):
    runs = study({"batch": 0.0, "group": 0.0}, batch_sizes=(2, 16))
    with pytest.raises(ValueError, match="several rows for norm='batch', seed=0"):
        pair_differences(runs, "test_accuracy", "norm")
    with pytest.raises(ValueError, match=r"'bn' is no value of 'norm': choose one of \['batch', 'group'\]"):
        level_differences(runs, "test_accuracy", "norm", "bn", across="batch_size")
    with pytest.raises(ValueError, match="4 is no value of 'batch_size'"):
        within_differences(runs, "test_accuracy", "norm", "batch", Along("batch_size", 2, [4]))
    with pytest.raises(ValueError, match="without 'norm'"):
        pair_differences(runs.replace({"norm": {"batch": None}}), "test_accuracy", "norm")
    assert np.isfinite(level_differences(runs, "test_accuracy", "norm", "batch", across="batch_size")["diff"]).all()
