"""The commands that write reports from what is logged, and the watch that repeats them."""

from pathlib import Path

import pytest

from normbench import report
from normbench.report import watch, watch_report
from tests.conftest import RunCli

from .conftest import Lab, MakeLab, typical, write_run


@pytest.mark.parametrize(
    ("command", "suffixes"),
    [
        ("tables", {".csv", ".md", ".tex", ".json"}),
        ("plots", {".svg", ".png", ".csv"}),
        ("report", {".csv", ".md", ".tex", ".json", ".svg", ".png", ".html"}),
    ],
)
def test_each_command_writes_its_part(
    typical_lab: Lab, tmp_path: Path, run_cli: RunCli, command: str, suffixes: set[str]
) -> None:
    target = tmp_path / "other"
    said = run_cli(command, typical_lab.study, "--runs", typical_lab.runs, "--reports", target)
    assert (said.status, said.err) == (0, "")
    paths = [Path(line) for line in said.out.splitlines()]
    assert {path.suffix for path in paths} == suffixes
    assert set(paths) == {path for path in target.rglob("*") if path.is_file()}


def test_a_report_changes_no_run(typical_lab: Lab) -> None:
    before = {path: path.read_bytes() for path in typical_lab.runs.rglob("*") if path.is_file()}
    typical_lab.write()
    assert {path: path.read_bytes() for path in typical_lab.runs.rglob("*") if path.is_file()} == before


def test_a_report_is_the_same_to_the_byte_when_repeated(typical_lab: Lab) -> None:
    before = {path.name: path.read_bytes() for path in typical_lab.write("tables", "page")}
    assert {path.name: path.read_bytes() for path in typical_lab.write("tables", "page")} == before


@pytest.mark.parametrize("command", ["tables", "plots", "report"])
def test_an_unknown_study_is_named(command: str, run_cli: RunCli, tmp_path: Path) -> None:
    said = run_cli(command, tmp_path / "absent.yaml")
    assert said.status == 2
    assert "absent.yaml" in said.error


def test_a_folder_that_cannot_be_written_is_named(written: Lab, tmp_path: Path, run_cli: RunCli) -> None:
    (tmp_path / "file").touch()
    said = run_cli("report", written.study, "--runs", written.runs, "--reports", tmp_path / "file")
    assert said.status == 1
    assert "cannot write" in said.error


def test_what_failed_and_what_waits_is_told(make_lab: MakeLab) -> None:
    def outcome(cell: dict, seed: int) -> float | str | None:
        return {0: 0.9, 1: "failed" if cell["model.norm"] == "group" else 0.9, 2: None}[seed]

    evidence = make_lab(outcome).evidence()
    states = [(run["state"], run["why"]) for run in evidence.unfinished]
    assert (
        sorted(states) == [("failed", "RunFolderError: no space left in /home/ada/runs/x")] * 2 + [("waiting", "")] * 6
    )


def test_watch_writes_as_runs_finish_and_ends_when_all_are_done(
    make_lab: MakeLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(report.PARTS, "figures", lambda evidence, folder: [])
    monkeypatch.setitem(report.PARTS, "page", lambda evidence, folder: [])
    lab = make_lab(lambda cell, seed: typical(cell, seed) if seed == 0 else None)
    rest = [run for run in lab.planned() if run.seed > 0]

    def train_some(seconds: float) -> None:
        assert seconds == 0.2
        for run in [rest.pop() for _ in range(6)]:
            write_run(lab.runs, run, typical(run.cell, run.seed))

    monkeypatch.setattr(watch.time, "sleep", train_some)
    lines = list(watch_report(lab.study, lab.runs, lab.reports, every=0.2))
    assert lines[0].startswith("6 of 18 runs: ")
    assert lines[-1].startswith("18 of 18 runs: ")
    assert len(lines) == 3
    assert (lab.report / "results.csv").read_text().count("\n") == 19


@pytest.mark.parametrize("state", ["failed", "interrupted"])
def test_watch_ends_when_nothing_can_come(make_lab: MakeLab, monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    monkeypatch.setattr("normbench.report.collection.MOST_UNFINISHED", 2)  # more than are told one by one
    for part in ("figures", "page"):
        monkeypatch.setitem(report.PARTS, part, lambda evidence, folder: [])
    lab = make_lab(lambda cell, seed: state if seed == 2 else 0.9)
    lines = list(watch_report(lab.study, lab.runs, lab.reports, every=0.1))
    assert len(lines) == 1
    assert lines[0].startswith(f"12 of 18 runs, 6 {state}: ")
    assert len(lab.evidence().unfinished) == 2


def test_watch_ends_when_nobody_trains_what_waits(make_lab: MakeLab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(report.PARTS, "figures", lambda evidence, folder: [])
    monkeypatch.setitem(report.PARTS, "page", lambda evidence, folder: [])
    lab = make_lab(lambda cell, seed: typical(cell, seed) if seed == 0 else None)
    slept: list[float] = []
    monkeypatch.setattr(watch.time, "sleep", slept.append)
    lines = list(watch_report(lab.study, lab.runs, lab.reports, every=20))
    assert lines[0].startswith("6 of 18 runs: ")
    assert lines[1:] == [f"no run is being trained: `normbench run {lab.study.name}` trains those that are left"]
    assert sum(slept) == watch.IDLE_SECONDS
