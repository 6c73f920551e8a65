"""Contrasts that a study declares beside the first: what they are made from, and how they are told."""

import json
from typing import Any

import pandas as pd
import pytest

from normbench.report import comparison
from normbench.report.figures import drawn_figures
from normbench.report.tables import contrasts_csv, tidy
from normbench.report.tables.comparison import contrast_grid
from normbench.study.metrics import METRICS

from .conftest import NOISE, MakeLab

LAYOUTS = {
    "1x32": {"trainer.virtual_devices": 1},
    "4 to 8": {"trainer.virtual_devices": 4},
    "8x4": {"trainer.virtual_devices": 8},
}
GRID = {"model.norm": ["batch", "group"], "layout": LAYOUTS}
FIRST = {"factor": "model.norm", "baseline": "group", "margin": 0.005}
COMPARE = [
    FIRST,
    {"name": "dividing", "kind": "within", "level": "batch", "along": "layout", "stops": ["8x4", "4 to 8"]},
    {"kind": "change", "along": "layout", "family": "changes"},
]
LOSS = {"1x32": 0.0, "4 to 8": 0.02, "8x4": 0.1}


def outcome(cell: dict[str, Any], seed: int) -> float:
    own = 0.0003 * ((seed * (3 + len(cell["layout"])) + (cell["model.norm"] == "batch") * seed * seed) % 5)
    return 0.95 + NOISE[seed] + own - LOSS[cell["layout"]] * (cell["model.norm"] == "batch")


@pytest.fixture
def lab(make_lab: MakeLab) -> Any:
    return make_lab(outcome, GRID, COMPARE, seeds=5)


def test_one_sentence_a_contrast(lab: Any) -> None:
    answer = lab.evidence().answer
    assert answer[0].startswith("Compared with group in test accuracy: batch is ")
    assert answer[1].startswith(
        "Dividing. Within batch, compared with layout 1x32 in test accuracy: layout 8x4 is worse"
    )
    assert "; layout 4 to 8 is worse (-" in answer[1]
    assert answer[2].startswith("In how much test accuracy changes from layout 1x32, compared with group: batch is ")
    assert "in 2 of 2 cells" in answer[2] or "in every cell" in answer[2]
    assert "all of a family at once (families of 5 and 2; paired t by seed)" in answer[3]


def test_the_sizes_are_the_differences_of_the_runs(lab: Any) -> None:
    evidence = lab.evidence()
    runs = evidence.runs.pivot(index="seed", columns=["norm", "layout"], values="test_accuracy")
    _, within, change = evidence.estimates
    row = within[within["treatment"] == "8x4"].iloc[0]
    assert row["diff"] == pytest.approx((runs["batch", "8x4"] - runs["batch", "1x32"]).mean())
    assert row["family"] == 5
    stop = {evidence.contrasts[2].stop(text): diff for text, diff in zip(change["along"], change["diff"], strict=True)}
    assert set(stop) == {"4 to 8", "8x4"}, "a label may hold the word 'to'"
    batch, group = (runs[norm, "4 to 8"] - runs[norm, "1x32"] for norm in ("batch", "group"))
    assert stop["4 to 8"] == pytest.approx((batch - group).mean())
    assert set(change["family"]) == {2}


def torn(cell: dict[str, Any], seed: int) -> float:
    """One seed is at chance, so that intervals of two seeds are wider than what is possible."""
    return 0.1 if (cell["model.norm"], cell["layout"], seed) == ("batch", "8x4", 1) else 0.95 + NOISE[seed]


def test_a_change_may_be_twice_as_large_as_a_difference(make_lab: MakeLab) -> None:
    """Of shares that differ by 100 points at most: table, sentence and figure alike."""
    evidence = make_lab(torn, GRID, COMPARE, seeds=2).evidence()
    assert evidence.estimates[2]["low"].min() < -2
    texts = [
        {name: cells[grid.columns.index("95 % interval")].text for name, cells in grid.rows}
        for grid in (contrast_grid(evidence, index) for index in range(3))
    ]
    assert texts[0]["batch, layout 8x4"] == texts[1]["layout 8x4"] == "all of -100.00 to +100.00"
    assert texts[2]["batch, to layout 8x4"] == "all of -200.00 to +200.00"
    drawn = drawn_figures(evidence)
    assert drawn["differences"].data["95 % to"].max() == 100
    further = drawn["contrasts"].data.groupby("contrast")["95 % to"].max()
    assert sorted(further) == [100, 200]
    assert all("cut at what is possible" in json.dumps(drawn[name].spec) for name in ("differences", "contrasts"))


def test_tables_carry_name_kind_family_and_interval(lab: Any) -> None:
    evidence = lab.evidence()
    table = contrasts_csv(evidence)
    assert table.groupby("contrast", sort=False)["kind"].first().to_dict() == {
        "levels": "levels",
        "dividing": "within",
        "change 2": "change",
    }
    assert table.groupby("family_name")["family"].unique().map(list).to_dict() == {"study": [5], "changes": [2]}
    wanted = ["contrast", "kind", "family_name", "family", "error", "low", "high", "verdict"]
    assert not table[wanted].isna().any().any()
    cells = tidy(evidence)
    compared = cells[(cells["metric"] == "test_accuracy") & (cells["norm"] == "batch")]
    assert not compared[wanted].isna().any().any()
    assert cells.loc[cells["norm"] == "group", "kind"].isna().all(), "a baseline is compared with nothing"
    lab.write()


def test_a_contrast_of_levels_on_other_cells_keeps_its_own_family(make_lab: MakeLab) -> None:
    others = {"kind": "levels", "name": "others", "where": {"layout": ["4 to 8", "8x4"]}, "family": "exploratory"}
    lab = make_lab(outcome, GRID, [FIRST | {"where": {"layout": ["1x32"]}}, others])
    cells = tidy(lab.evidence())
    cells = cells[(cells["metric"] == "test_accuracy") & (cells["norm"] == "batch")]
    told = {row["layout"]: (row["family_name"], row["family"]) for row in cells.to_dict("records")}
    assert told == {"1x32": ("study", 1), "4 to 8": ("exploratory", 2), "8x4": ("exploratory", 2)}


def test_each_row_is_made_from_the_cells_it_uses(lab: Any) -> None:
    """Taking away the runs of a cell that a row does not use leaves the row as it is; one that it uses, not."""
    evidence = lab.evidence()
    cells = evidence.runs[["norm", "layout"]].drop_duplicates().to_dict("records")
    for contrast, table in zip(evidence.contrasts, evidence.estimates, strict=True):
        for row in table.to_dict("records"):
            for cell in cells:
                without = evidence.runs[(evidence.runs[list(cell)] != pd.Series(cell)).any(axis=1)]
                left = contrast.differences(without, "test_accuracy")
                same = left.loc[left["id"] == row["id"], "diff"].notna().sum() == row["pairs"]
                assert same != contrast.uses(row, cell), (contrast.name, row["id"], cell)


def test_slopes_and_places(make_lab: MakeLab) -> None:
    grid = {"model.norm": ["batch", "group"], "data.batch_size": [8, 16, 32], "trainer.virtual_devices": [1, 2]}
    compare = [FIRST, {"kind": "slope", "along": "data.batch_size", "where": {"trainer.virtual_devices": 2}}]

    def falling(cell: dict[str, Any], seed: int) -> float:
        doublings = cell["data.batch_size"].bit_length() - 4
        return 0.9 + NOISE[seed] + 0.01 * doublings * (cell["model.norm"] == "batch") * (1 + NOISE[seed])

    evidence = make_lab(falling, grid, compare, seeds=5).evidence()
    (row,) = evidence.estimates[1].to_dict("records")
    assert row["diff"] == pytest.approx(0.01, rel=0.02)
    assert evidence.answer[1].startswith(
        "At virtual_devices 2: in how much test accuracy changes with each doubling of batch_size, compared with "
        "group: batch is better (+1.00 points"
    )
    assert evidence.family == 7


def test_a_slope_through_a_skipped_cell_is_no_part_of_the_family(make_lab: MakeLab) -> None:
    grid = {"model.norm": ["batch", "group", "layer"], "data.batch_size": [8, 16, 32]}
    compare = [FIRST, {"kind": "slope", "along": "data.batch_size"}]
    skip = [{"when": {"model.norm": ["layer"], "data.batch_size": [8]}, "reason": "no room"}]
    evidence = make_lab(lambda c, s: 0.9 + NOISE[s], grid, compare, seeds=3, skip=skip).evidence()
    assert [len(table) for table in evidence.estimates] == [5, 1]
    assert evidence.family == 6
    assert set(evidence.estimates[1]["family"]) == {6}


def test_a_training_loss_with_units_dropped_out_compares_nothing(make_lab: MakeLab) -> None:
    networks = {"dry": {"model.dropout": 0.0}, "dropped": {"model.dropout": 0.5}}
    grid = {"model.norm": ["batch", "group"], "network": networks}
    metrics = set(make_lab(outcome_of_seed, grid, [FIRST], seeds=2).evidence().comparison["metric"])
    assert "test_nll" in metrics
    assert "train_loss" not in metrics
    whole = make_lab(outcome_of_seed, {"model.norm": ["batch", "group"]}, [FIRST], seeds=2).evidence().comparison
    assert "train_loss" in set(whole["metric"])


def outcome_of_seed(cell: dict[str, Any], seed: int) -> float:
    return 0.9 + NOISE[seed]


def test_errors_are_told_as_a_multiple_of_the_baselines(make_lab: MakeLab) -> None:
    """Half a point is 1.5 times the errors of 1 %, and 1.02 times those of 30 %."""
    lost = {"batch": 0.01, "group": 0.015}

    def erring(cell: dict[str, Any], seed: int) -> float | str:
        if (cell["model.norm"], seed) == ("batch", 2):
            return "diverged"
        return 1 - lost[cell["model.norm"]] * (1 + seed) - 0.29 * (cell["data.batch_size"] == 16)

    compare = [FIRST | {"baseline": "batch"}, {"kind": "change", "along": "data.batch_size"}]
    lab = make_lab(erring, {"model.norm": ["batch", "group"], "data.batch_size": [8, 16]}, compare, seeds=3)
    evidence = lab.evidence()
    found = evidence.pairs.set_index("batch_size")["error_ratio"].to_dict()
    assert found == pytest.approx({8: 1.5, 16: (0.29 + 0.0225) / (0.29 + 0.015)})
    assert evidence.estimates[1]["error_ratio"].isna().all()
    grid = contrast_grid(evidence, 0)
    assert [cells[grid.columns.index("errors")].text for _, cells in grid.rows] == ["× 1.50", "× 1.02"]
    assert "errors" not in contrast_grid(evidence, 1).columns
    assert "error_ratio" in tidy(evidence).columns
    assert "error_ratio" in contrasts_csv(evidence).columns
    other = evidence.asking(METRICS["test_nll"])
    assert "errors" not in contrast_grid(other, 0).columns


def test_whole_numbers_stay_whole_in_the_files(make_lab: MakeLab) -> None:
    grid = {"model.norm": ["batch", "group"], "data.batch_size": [8, 16]}
    compare = [FIRST, {"kind": "within", "level": "batch", "along": "data.batch_size", "stops": [16]}]
    lab = make_lab(outcome_of_seed, grid, compare, seeds=3)
    lab.write("tables")
    for name, columns in (("pairs", ["batch_size"]), ("comparison", ["pairs", "family", "runs_treatment"])):
        head, *lines = (lab.report / f"{name}.csv").read_text().splitlines()
        cells = [dict(zip(head.split(","), line.split(","), strict=False)) for line in lines]
        for column in columns:
            assert {cell[column] for cell in cells} <= {"", "2", "3", "8", "16"}, (name, column)


def test_estimates_are_worked_out_once_for_all_that_is_asked_of_the_same_runs(
    make_lab: MakeLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = GRID | {"data.batch_size": [16, 32]}
    evidence = make_lab(outcome, grid, [FIRST], seeds=5).evidence()
    assert len(evidence.comparison)
    nll, layout = METRICS["test_nll"], {"swept": "layout"}
    fresh = make_lab(outcome, grid, [FIRST], seeds=5).evidence().asking(nll, **layout).estimates[0]
    other = evidence.asking(nll, **layout).estimates[0]
    pd.testing.assert_frame_equal(other, fresh)  # another order of the axes is another table
    counted: list[int] = []
    work = comparison.estimates
    monkeypatch.setattr(comparison, "estimates", lambda *given, **named: counted.append(1) or work(*given, **named))
    pd.testing.assert_frame_equal(evidence.asking(nll, **layout).estimates[0], fresh)
    assert len(evidence.asking(nll).pairs) == len(fresh)
    assert not counted
