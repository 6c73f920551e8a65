"""`normbench tune`: the rates that a pilot chooses, and what it refuses to choose."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from normbench.spec import read_yaml
from normbench.study import load_study, make_plan

from ..conftest import RunCli
from .conftest import NOISE, Lab, MakeLab

GRID = {"model.norm": ["none", "batch"], "data.batch_size": [8, 32], "optimizer.lr": [0.001, 0.01, 0.1, 1.0]}
COMPARE = {"factor": "model.norm", "baseline": "batch", "tuned": "optimizer.lr"}
BEST = {("none", 8): 0.01, ("none", 32): 0.1, ("batch", 8): 0.1, ("batch", 32): 0.01}
Outcome = Callable[[dict[str, Any], int], Any]


def peaked(cell: dict[str, Any], seed: int) -> float | str:
    if cell["optimizer.lr"] == 1.0:
        return "diverged"
    return 0.9 + 0.05 * (BEST[cell["model.norm"], cell["data.batch_size"]] == cell["optimizer.lr"]) + NOISE[seed % 10]


def tuned(run_cli: RunCli, lab: Lab, to: Path) -> Any:
    return run_cli("tune", lab.study, "--runs", lab.runs, "--to", to)


def test_the_rates_of_a_pilot_are_those_of_the_study_that_names_them(
    run_cli: RunCli, make_lab: MakeLab, tmp_path: Path
) -> None:
    lab = make_lab(peaked, GRID, COMPARE, seeds=[1000, 1001], name="pilot")
    said = tuned(run_cli, lab, tmp_path / "rates.yaml")
    assert said.status == 0, said.err
    assert "rates of 4 cells, chosen by pilot" in said.out
    tree = read_yaml(tmp_path / "rates.yaml", "file")
    assert (tree["pilot"], tree["commit"], tree["code_digest"], tree["seeds"]) == (
        "pilot",
        "c0ffee",
        "0123456789abcdef",
        [1000, 1001],
    )
    row = next(row for row in tree["rates"] if (row["model.norm"], row["data.batch_size"]) == ("none", 32))
    assert row["val_accuracy"] == pytest.approx(0.94 + (NOISE[0] + NOISE[1]) / 2, abs=1e-6)
    assert row["candidates"] == [0.001, 0.01, 0.1, 1.0]
    study = make_lab(
        lambda cell, seed: None,
        {key: GRID[key] for key in ("model.norm", "data.batch_size")},
        base={"data": {"name": "mnist"}, "optimizer": {"lr": {"from": "rates.yaml"}}},
        name="study",
    )
    runs = make_plan(load_study(study.study), fallback=False).runs
    found = {(run.cell["model.norm"], run.cell["data.batch_size"]): run.config.optimizer.lr for run in runs}
    assert found == BEST
    evidence = study.evidence()
    assert ("learning rates", "rates.yaml, chosen by pilot, on seeds 1000, 1001") in evidence.design
    assert "optimizer.lr" not in evidence.configuration
    file = {"optimizer.lr": {"from": "rates.yaml"}}
    twice = make_lab(
        lambda cell, seed: None,
        {
            **{key: GRID[key] for key in ("model.norm", "data.batch_size")},
            "size": {"narrow": {"model.channels": [8, 8], **file}, "wide": {"model.channels": [16, 16], **file}},
        },
        base={"data": {"name": "mnist"}},
        name="twice",
    )
    assert [name for name, _ in twice.evidence().design].count("learning rates") == 1
    overlap = study.study.with_name("overlap.yaml")
    overlap.write_text(study.study.read_text().replace("seeds: 3", "seeds: [5, 1001]"))
    answer = run_cli("plan", overlap, "--runs", study.runs)
    assert answer.status == 2
    assert "was chosen on seed 1001, which the study reports: give the pilot other seeds" in answer.error


@pytest.mark.parametrize("whole", [True, False])
def test_a_run_that_stands_for_several_layouts_is_done_once(
    run_cli: RunCli, make_lab: MakeLab, tmp_path: Path, whole: bool
) -> None:
    """Of 18 runs six stand for two cells: as many as are missing of the other one."""

    def outcome(cell: dict[str, Any], seed: int) -> Any:
        left = not whole and cell["model.norm"] == "batch" and cell["trainer.virtual_devices"] == 2
        return None if left else 0.9 + 0.05 * (cell["optimizer.lr"] == 0.01) + NOISE[seed % 10]

    grid = {"model.norm": ["none", "batch"], "trainer.virtual_devices": [1, 2], "optimizer.lr": [0.001, 0.01, 0.1]}
    lab = make_lab(outcome, grid, COMPARE, seeds=[1000, 1001], name="pilot")
    said = tuned(run_cli, lab, tmp_path / "rates.yaml")
    if whole:
        assert said.status == 0, said.err
        assert "rates of 4 cells" in said.out
    else:
        assert "6 of 18 runs of the pilot have no result: run it first" in said.error


def missing(cell: dict[str, Any], seed: int) -> Any:
    return None if (cell["model.norm"], seed) == ("none", 1001) else peaked(cell, seed)


def edge(cell: dict[str, Any], seed: int) -> float:
    return 0.9 + 0.01 * cell["optimizer.lr"] * (1 if cell["model.norm"] == "none" else -1)


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        (missing, "8 of 32 runs of the pilot have no result: run it first"),
        (
            edge,
            "the best optimizer.lr of model.norm=batch, data.batch_size=8 is 0.001, the edge of its grid: extend the "
            "grid below it, and run the pilot again",
        ),
        (lambda cell, seed: "diverged", "every run of model.norm=batch, data.batch_size=8 diverged: extend the grid"),
    ],
)
def test_what_a_pilot_does_not_choose(
    run_cli: RunCli, make_lab: MakeLab, tmp_path: Path, outcome: Outcome, said: str
) -> None:
    lab = make_lab(outcome, GRID, COMPARE, seeds=[1000, 1001], name="pilot")
    answer = tuned(run_cli, lab, tmp_path / "rates.yaml")
    assert answer.status == 2
    assert said in answer.error
    assert not (tmp_path / "rates.yaml").exists()
