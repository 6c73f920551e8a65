"""`normbench cost`."""

import os
from pathlib import Path

import pytest

from normbench.report.tables import read_csv

from ..conftest import RunCli
from .conftest import Write


def test_cost_of_a_small_study(run_cli: RunCli, study: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NORMBENCH_WANDB", "offline")
    monkeypatch.setattr("os.getloadavg", lambda: (0.0, 0.0, 0.0))
    monkeypatch.chdir(tmp_path)
    said = run_cli("cost", study(), "--reports", "r", "--rounds", 2, "--seconds", 0.01)
    assert said.status == 0, said.err
    assert said.out.split() == ["r/small/cost.csv", "r/small/cost.md"]
    assert "small: 2 cells in turns, 2 rounds, about" in said.err
    assert "round 2 of 2 is done" in said.err
    assert "warning" not in said.err
    table = read_csv(tmp_path / "r" / "small" / "cost.csv")
    assert list(table["norm"]) == ["none", "batch"]
    assert list(table["rounds"]) == [2, 2]
    assert (table["samples_per_second"] > 0).all()
    assert table.loc[1, "ratio"] == 1
    text = (tmp_path / "r" / "small" / "cost.md").read_text(encoding="utf-8")
    assert "| norm none |" in text
    assert "| norm batch |" in text
    assert "torch" in text.splitlines()[-1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r", "study.yaml"], "nothing is kept, or mirrored"
    assert os.environ["NORMBENCH_WANDB"] == "offline"


def test_a_busy_machine_is_told_of(
    run_cli: RunCli, study: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.getloadavg", lambda: (1.5, 0.0, 0.0))
    words = ("--rounds", 1, "--seconds", 0.01, "--only", "model.norm=batch")
    said = run_cli("cost", study(), "--reports", tmp_path / "r", *words)
    assert said.status == 0
    assert "warning: the machine is busy (load 1.5): what is measured is rough" in said.err
    assert "load 1.5 at the start" in (tmp_path / "r" / "small-smoke" / "cost.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--seconds", "0"), "'0' is not a number of seconds above 0"),
        (("--seconds", "nan"), "'nan' is not a number of seconds above 0"),
        (("--rounds", "0"), "'0' is not a whole number from 1"),
    ],
)
def test_wrong_options(run_cli: RunCli, study: Write, words: tuple[str, ...], told: str) -> None:
    said = run_cli("cost", study(), *words)
    assert said.status == 2
    assert told in said.err


def test_latency_of_a_small_study(
    run_cli: RunCli, study: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.getloadavg", lambda: (0.0, 0.0, 0.0))
    words = ("--reports", tmp_path / "r", "--rounds", 2, "--seconds", 0.001)
    said = run_cli("cost", study(), "--inference", "--images", 3, *words)
    assert said.status == 0, said.err
    assert "small: 3 networks on 3 images in turns, 2 rounds, about" in said.err
    table = read_csv(tmp_path / "r" / "small" / "inference.csv")
    assert list(zip(table["norm"], table["fused"], strict=True)) == [("none", False), ("batch", False), ("batch", True)]
    assert (table["milliseconds"] > 0).all()
    assert set(table["baseline"]) == {"none"}
    text = (tmp_path / "r" / "small" / "inference.md").read_text(encoding="utf-8")
    assert "| norm batch, folded |" in text
    assert "A forward pass of 3 images in evaluation" in text
    assert run_cli("cost", study(), "--images", 3).status == 2
