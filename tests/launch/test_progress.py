"""What a running study says in a log."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from normbench.launch import task_of
from normbench.launch.progress import Display, duration
from normbench.spec import resolve, run_config, run_id
from normbench.study import PlannedRun


def planned(seed: int) -> PlannedRun:
    config = resolve(run_config({"data.name": "mnist_5k", "budget.steps": 10, "seed": seed}))
    return PlannedRun(run_id(config), {"model.norm": "[batch]"}, seed, config)


def test_lines_of_a_log() -> None:
    runs = [planned(seed) for seed in range(3)]
    first, second, third = (task_of(run.id, run.config, Path(run.id)) for run in runs)
    said = io.StringIO()
    with Display(runs, Console(file=said, width=40)) as display:
        display("start", first, None)
        display("progress", first, 5)
        display("retry", first, "its worker was ended by SIGKILL")
        display("start", first, None)
        display("start", second, None)
        display("busy", second, None)
        assert set(display.busy) == {runs[1].id}
        display("done", second, None)
        display("start", third, None)
        display("failed", third, "ValueError: no")
        display("done", first, None)
    assert [re.sub(r"^\[\d/3.*?\] ", "", line) for line in said.getvalue().splitlines()] == [
        "again: norm [batch], seed 0: its worker was ended by SIGKILL; continuing from its last checkpoint",
        f"waiting: norm [batch], seed 1: another process trains it, which holds {second.folder / '.lock'}",
        "norm [batch], seed 1: done by another process",
        "norm [batch], seed 2: FAILED (ValueError: no)",
        "norm [batch], seed 0: done",
    ]
    assert [(run.seed, line) for run, line in display.failed] == [(2, "ValueError: no")]
    assert display.ended == 3
    assert display.busy == {}


def test_durations() -> None:
    assert [duration(seconds) for seconds in (45, 420, 7500)] == ["45 s", "7 min", "2 h 5 min"]


def test_a_log_gets_plain_lines_whatever_its_variables_say(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with Display([]) as display:
        display._print("a line")
    assert capsys.readouterr().err == "a line\n"
