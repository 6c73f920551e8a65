"""How commands end when they are stopped, and when another one does the same work."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil
import pytest

from .processes import SMALL, end, on_terminal, results, shown_on, start, until, write_study

pytestmark = pytest.mark.slow
STATUSES = [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]


@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize(("number", "status"), STATUSES)
def test_a_stopped_training_says_so(number: int, status: int, devices: int, tmp_path: Path) -> None:
    words = [*SMALL, "--budget.steps", 60_000, "--trainer.checkpoints", 6_000, "--trainer.devices", devices]
    process = start("train", *words, "--runs", tmp_path)
    until(lambda: list(tmp_path.glob("*/checkpoint.ckpt")), process)
    process.send_signal(number)
    ended, _, err = end(process, 30)
    assert (ended, err.strip()) == (status, "stopped: the same command continues from the last checkpoint")
    assert list(tmp_path.glob("*/checkpoint.ckpt"))
    assert not results(tmp_path)


@pytest.mark.parametrize(("number", "status"), STATUSES)
def test_a_stopped_study_says_so(number: int, status: int, tmp_path: Path) -> None:
    study = write_study(tmp_path, "stopped", 60_000)
    process = start("run", study, "--workers", 1, "--runs", tmp_path / "runs")
    until(lambda: list((tmp_path / "runs").glob("*/metrics.csv")), process)
    os.killpg(process.pid, number)  # as a terminal does, and `timeout`: to all of them
    ended, _, err = end(process, 30)
    assert ended == status
    assert err.splitlines()[-1].startswith("stopped: 0 of 2 runs are done; the same command continues")


def test_a_study_whose_terminal_is_closed_says_so_by_its_status(tmp_path: Path) -> None:
    """What it then wrote to its terminal failed, and hid why it ended."""
    study, runs = write_study(tmp_path, "closed", 60_000), tmp_path / "runs"
    process, terminal = on_terminal("run", study, "--workers", 1, "--runs", runs)
    until(lambda: shown_on(terminal) and list(runs.glob("*/metrics.csv")), process)
    workers = psutil.Process(process.pid).children(recursive=True)
    os.close(terminal)
    assert process.wait(30) == 129
    until(lambda: not any(worker.is_running() for worker in workers), seconds=10)


def test_a_worker_that_is_told_to_end_says_so(tmp_path: Path) -> None:
    study = write_study(tmp_path, "told", 600)
    study.write_text(study.read_text().replace("[0.01, 0.02]", "[0.01]"))
    process = start("run", study, "--workers", 1, "--runs", tmp_path / "runs")
    until(lambda: list((tmp_path / "runs").glob("*/checkpoint.ckpt")), process)
    children = psutil.Process(process.pid).children(recursive=True)
    next(child for child in children if "spawn_main" in " ".join(child.cmdline())).terminate()
    status, _, err = end(process)
    assert status == 0, err
    assert "its worker was ended by SIGTERM; continuing from its last checkpoint" in err
    assert len(results(tmp_path / "runs")) == 1


def test_two_commands_share_a_study_and_both_end_with_all_of_it(tmp_path: Path) -> None:
    study = write_study(tmp_path, "shared", 800)
    runs = tmp_path / "runs"
    first = start("run", study, "--workers", 1, "--runs", runs)
    until(lambda: list(runs.glob("*/metrics.csv")), first)
    second = start("run", study, "--workers", 1, "--runs", runs)
    for process in (first, second):
        status, _, err = end(process)
        assert status == 0, err
        assert len(results(runs)) == 2, "who ends with 0 has all results"


def test_a_run_whose_command_dies_is_taken_over(tmp_path: Path) -> None:
    study = write_study(tmp_path, "taken", 60_000)
    study.write_text(study.read_text().replace("[0.01, 0.02]", "[0.01]"))
    runs = tmp_path / "runs"
    first = start("run", study, "--workers", 1, "--runs", runs)
    until(lambda: list(runs.glob("*/checkpoint.ckpt")), first)
    second = start("run", study, "--workers", 1, "--runs", runs)
    assert second.stderr is not None
    while "another process trains it" not in second.stderr.readline():
        assert second.poll() is None
    first.kill()
    end(first)
    lock = next(runs.glob("*/.lock"))
    before = lock.parent.joinpath("metrics.csv").stat().st_size
    until(lambda: lock.parent.joinpath("metrics.csv").stat().st_size > before, second)
    second.send_signal(signal.SIGINT)
    assert end(second, 30)[0] == 130


def test_a_second_training_of_one_run_is_told(tmp_path: Path) -> None:
    words = ["train", *SMALL, "--budget.steps", 60_000, "--runs", tmp_path]
    first = start(*words)
    until(lambda: list(tmp_path.glob("*/metrics.csv")), first)
    status, _, err = end(start(*words))
    first.kill()
    end(first)
    assert (status, len(err.splitlines())) == (1, 1)
    assert "is being trained by another process: wait for it" in err
