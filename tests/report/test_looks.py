"""Planned looks: the stored runs alone tell which look is next, and for which cells."""

from typing import Any

import numpy as np
import pytest

from normbench.report.images import Pair
from normbench.report.looks import look_progress
from normbench.report.tables import images_grid
from normbench.store.predictions import Predictions
from normbench.study import load_study

from .conftest import NOISE, Lab, MakeLab, write_run

LOOKS = {"looks": [3, 5, 8], "spend": [0.2, 0.3, 0.5]}
GRID = {"model.norm": ["none", "batch", "group"], "data.batch_size": [8, 32]}


def outcome(cell: dict[str, Any], seed: int) -> float:
    """none is far worse at 8; everything else stays open."""
    place = ["none", "batch", "group"].index(cell["model.norm"])
    own = 0.004 * ((seed * 7 + place * (seed * seed + 3) + cell["data.batch_size"]) % 5 - 2)
    return 0.9 + NOISE[seed] + own - 0.3 * (cell["model.norm"] == "none" and cell["data.batch_size"] == 8)


def asked(lab: Lab) -> tuple[int, dict[tuple[str, int], int]]:
    """Looks made, and seeds asked for in each cell."""
    evidence = lab.evidence()
    found = look_progress(evidence)
    assert found is not None
    count: dict[tuple[str, int], int] = {}
    for run in found.asked:
        key = run.cell["model.norm"], run.cell["data.batch_size"]
        count[key] = count.get(key, 0) + 1
    return found.done, count


def train(lab: Lab) -> int:
    """Writes what the next look asks for."""
    left = look_progress(lab.evidence())
    assert left is not None
    for run in left.left:
        write_run(lab.runs, run, outcome(run.cell, run.seed))
    return len(left.left)


def test_look_by_look(make_lab: MakeLab) -> None:
    lab = make_lab(lambda cell, seed: None, GRID, seeds=LOOKS)
    done, cells = asked(lab)
    assert (done, set(cells.values()), len(cells)) == (0, {3}, 6)
    assert train(lab) == 18
    evidence = lab.evidence()
    told = evidence.pairs.set_index(["norm", "batch_size"])["verdict"].to_dict()
    assert told.pop(("none", 8)) == "worse"
    assert set(told.values()) == {"open"}
    assert set(evidence.pairs["alpha"]) == {0.05 * 0.2}
    assert "Interim: 1 of 3 looks are made, 18 of 28 runs are done, and none is running" in evidence.answer[-1]
    assert "hold for all of them at once and at 3 planned looks" in evidence.answer[1]
    assert asked(lab) == (
        1,
        {("none", 8): 3, ("none", 32): 5, ("batch", 8): 5, ("batch", 32): 5, ("group", 8): 5, ("group", 32): 5},
    )


def test_the_best_is_marked_at_looks_alone(make_lab: MakeLab) -> None:
    def lucky(cell: dict[str, Any], seed: int) -> float:
        """After the first look batch is as good as group; later seeds tell them apart."""
        ahead = {"none": -0.3, "batch": 0.05 * (seed >= 3), "group": 0.0}[cell["model.norm"]]
        place = ["none", "batch", "group"].index(cell["model.norm"])
        return 0.9 + NOISE[seed] + ahead + 0.0002 * (seed * place % 3)

    lab = make_lab(lambda cell, seed: None, GRID, seeds=LOOKS)

    def marks() -> list[dict[str, str]]:
        rows = lab.evidence().comparison
        rows = rows[rows["metric"] == "test_accuracy"]
        return [dict(zip(part["norm"], part["mark"], strict=True)) for _, part in rows.groupby("batch_size")]

    for run in lab.planned():
        if run.seed < 2:
            write_run(lab.runs, run, lucky(run.cell, run.seed))
    assert marks() == [{"none": "", "batch": "", "group": ""}] * 2, "a look that was not planned"
    for run in lab.planned():
        if run.seed in (2, 3) and run.cell["model.norm"] != "none":
            write_run(lab.runs, run, lucky(run.cell, run.seed))
    first = next(run for run in lab.planned() if run.seed == 2 and run.cell["model.norm"] == "none")
    for run in lab.planned():
        if run.seed == 2 and run.id != first.id:
            write_run(lab.runs, run, lucky(run.cell, run.seed))
    assert marks() == [{"none": "", "batch": "", "group": ""}] * 2
    write_run(lab.runs, first, lucky(first.cell, 2))
    assert marks() == [{"none": "", "batch": "tied", "group": "tied"}] * 2


def test_an_interrupted_look_goes_on_and_the_last_one_ends(make_lab: MakeLab) -> None:
    lab = make_lab(lambda cell, seed: None, GRID, seeds=LOOKS)
    train(lab)
    found = look_progress(lab.evidence())
    assert found is not None
    first = found.left[0]
    write_run(lab.runs, first, outcome(first.cell, first.seed))
    again = look_progress(lab.evidence())
    assert again is not None
    assert (again.done, [run.id for run in again.left]) == (1, [run.id for run in found.left[1:]])
    train(lab)
    train(lab)
    evidence = lab.evidence()
    end = look_progress(evidence)
    assert end is not None
    assert (end.done, end.left, evidence.states.total()) == (3, [], 0)
    assert not any(sentence.startswith("Interim") for sentence in evidence.answer)
    rows = evidence.pairs.set_index(["norm", "batch_size"])
    assert rows.loc[("none", 8), ["look", "pairs"]].tolist() == [1, 3]
    assert (rows.drop(("none", 8))["look"] > 1).all()
    lab.write("tables")


def test_never_goes_on_with_every_cell(make_lab: MakeLab) -> None:
    lab = make_lab(lambda cell, seed: None, GRID, seeds={**LOOKS, "stop": "never"})
    train(lab)
    assert set(asked(lab)[1].values()) == {5}


def test_a_study_that_is_decided_asks_for_nothing_more(make_lab: MakeLab) -> None:
    def far(cell: dict[str, Any], seed: int) -> float | None:
        level = {"none": 0.5, "batch": 0.9, "group": 0.7}[cell["model.norm"]]
        return level + NOISE[seed] + 0.0002 * ((seed * ord(cell["model.norm"][0])) % 3) if seed < 3 else None

    lab = make_lab(far, GRID, seeds=LOOKS)
    found = look_progress(lab.evidence())
    assert found is not None
    assert (found.done, found.left, found.open) == (1, [], 0)
    assert not any(sentence.startswith("Interim") for sentence in lab.evidence().answer)


def test_a_row_of_a_change_needs_both_ends_of_the_axis(make_lab: MakeLab) -> None:
    compare = [{"factor": "model.norm", "baseline": "batch"}, {"kind": "change", "along": "data.batch_size"}]
    lab = make_lab(lambda cell, seed: None, GRID, compare, seeds=LOOKS)
    train(lab)
    evidence = lab.evidence()
    (row,) = [row for row in evidence.estimates[1].to_dict("records") if row["treatment"] == "none"]
    assert row["verdict"] == "better", "none loses .3 at 8"
    assert np.isclose(row["alpha"], 0.01)
    assert load_study(lab.study).looks is not None
    assert evidence.family == 6


def test_a_look_of_which_no_pair_is_done_can_be_reported(make_lab: MakeLab) -> None:
    done = {("batch", 8, 0), ("group", 32, 0)}

    def begun(cell: dict[str, Any], seed: int) -> float | None:
        key = cell["model.norm"], cell["data.batch_size"], seed
        return outcome(cell, seed) if key in done else None

    lab = make_lab(begun, GRID, seeds=LOOKS)
    evidence = lab.evidence()
    assert evidence.estimates[0]["error_ratio"].isna().all()
    assert "No comparison with batch can be made yet: 2 runs done." in evidence.answer
    lab.write("tables")


def test_predictions_of_seeds_after_the_look_that_decided_are_not_told(
    make_lab: MakeLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of the first look were pulled, without predictions."""
    lab = make_lab(lambda cell, seed: None, GRID, seeds=LOOKS)
    train(lab)
    side = Predictions(np.zeros((2, 8), np.uint8), np.ones((2, 8), bool))
    pair = Pair({"norm": "none", "batch_size": 8}, lab.planned()[0].id, (3, 4), side, side)
    monkeypatch.setattr("normbench.report.tables.images.image_pairs", lambda evidence: [pair])
    assert images_grid(lab.evidence()) is None


@pytest.mark.parametrize("norm", ["none", "group"])
def test_a_failed_run_keeps_its_look_open(make_lab: MakeLab, norm: str) -> None:
    def failing(cell: dict[str, Any], seed: int) -> Any:
        if seed > 2:
            return None
        return "failed" if (cell["model.norm"], seed) == (norm, 1) else outcome(cell, seed)

    lab = make_lab(failing, GRID, seeds=LOOKS)
    assert asked(lab)[0] == 0
    evidence = lab.evidence()
    assert set(evidence.pairs["verdict"]) == {"open"}
    assert evidence.states == {"failed": 2}
