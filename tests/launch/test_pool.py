"""The pool with real processes that do something quicker than training."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from normbench.errors import NormbenchError, UsageError
from normbench.launch.ends import raise_terminated
from normbench.launch.launcher import Event, Task, launcher
from normbench.launch.local import LocalLauncher
from normbench.launch.pool import Pool
from normbench.launch.resources import Resources
from normbench.launch.worker import Work
from normbench.stops import Terminated
from normbench.store.folder import RunFolder

from . import works


class Told:
    """A listener that keeps what it is told, and can act on it."""

    def __init__(self, act: Callable[[Event, Task], None] | None = None) -> None:
        self.events: list[tuple[Event, str, Any]] = []
        self.act = act

    def __call__(self, event: Event, task: Task, value: object) -> None:
        if event != "progress":
            self.events.append((event, task.run_id[-1], value))
        if self.act:
            self.act(event, task)

    def of(self, name: str) -> list[tuple[str, Any]]:
        return [(task, value) for event, task, value in self.events if event == name]


def launch(tasks: list[Task], work: Work, workers: int | None = 1, told: Told | None = None) -> Told:
    told = told or Told()
    LocalLauncher(workers, work).launch(tasks, told)
    return told


def lines(folder: Path, name: str) -> list[str]:
    return (folder / name).read_text().splitlines()


def workers() -> list[psutil.Process]:
    children = psutil.Process().children(recursive=True)
    return [child for child in children if "spawn_main" in " ".join(child.cmdline())]


def test_all_tasks_are_done_in_order(tmp_path: Path) -> None:
    told = launch(works.tasks(tmp_path, 3), works.quick)
    assert [event for event, _, _ in told.events] == ["start", "done"] * 3
    assert [task for task, _ in told.of("done")] == ["0", "1", "2"]
    assert workers() == []


@pytest.mark.parametrize(("name", "hint"), [("SIGTERM", ""), ("SIGKILL", ": out of memory? try fewer workers")])
def test_what_ended_a_worker_is_said(name: str, hint: str, tmp_path: Path) -> None:
    told = launch(works.tasks(tmp_path, 1, signal=name, times=1), works.ended_by)
    assert told.of("retry") == [("0", f"its worker was ended by {name}")]
    assert len(told.of("done")) == 1

    told = launch(works.tasks(tmp_path / "often", 1, signal=name, times=9), works.ended_by)
    line = f"its worker was ended by {name}, 3 times{hint}"
    assert told.of("failed") == [("0", line)]
    assert RunFolder(tmp_path / "often" / f"{0:016x}").error() == line


def test_a_worker_killed_between_two_runs_costs_nothing(tmp_path: Path) -> None:
    def kill_idle(event: Event, task: Task) -> None:
        if event == "done" and task.run_id.endswith("0"):
            (worker,) = workers()
            worker.kill()
            worker.wait(5)

    told = launch(works.tasks(tmp_path, 3), works.quick, told=Told(kill_idle))
    assert len(told.of("done")) == 3
    assert told.of("retry") == []


def test_workers_that_cannot_start_end_the_study(tmp_path: Path) -> None:
    with pytest.raises(NormbenchError, match="a worker process exited with 1 before it could train"):
        launch(works.tasks(tmp_path, 1), _Unreadable())


class _Unreadable:
    """Work that a new process cannot even read."""

    def __call__(self, task: Task, progress: Callable[[int], None]) -> bool:
        return True

    def __reduce__(self) -> Any:
        return os._exit, (1,)


def test_a_worker_that_met_an_error_not_ours_is_replaced(tmp_path: Path) -> None:
    tasks = works.tasks(tmp_path, 3)
    told = launch(tasks, works.failing)
    assert told.of("failed") == [("0", "RuntimeError: CUDA error: an illegal memory access was encountered")]
    assert "Traceback" in (tasks[0].folder / "error.txt").read_text()
    pids = [lines(task.folder, "pid")[0] for task in tasks]
    assert pids[0] != pids[1] == pids[2]


def test_a_run_that_another_process_trains_is_waited_for(tmp_path: Path) -> None:
    long, *short = works.tasks(tmp_path, 3, seconds=2.5)
    tasks = [long, *(replace(task, config={"seconds": 0.1}) for task in short)]
    other = multiprocessing.get_context("spawn").Process(target=_work_off, args=(long,))
    other.start()
    _until((long.folder / "times").exists)
    told = launch(tasks, works.slow)
    other.join()
    assert told.of("busy") == [("0", None)]
    assert [task for task, _ in told.of("done")] == ["1", "2", "0"]
    assert all(RunFolder(task.folder).state() == "done" for task in tasks)
    assert [len(lines(task.folder, "trainings")) for task in tasks] == [1, 1, 1]


def test_a_run_whose_process_dies_elsewhere_is_taken_over(tmp_path: Path) -> None:
    (task,), (longer,) = works.tasks(tmp_path, 1), works.tasks(tmp_path, 1, seconds=600)
    other = multiprocessing.get_context("spawn").Process(target=_work_off, args=(longer,))
    other.start()
    _until((task.folder / "times").exists)
    told = launch([task], works.slow, told=Told(lambda event, _: other.kill() if event == "busy" else None))
    assert [event for event, _, _ in told.events] == ["start", "busy", "start", "done"]
    assert RunFolder(task.folder).state() == "done"


def test_a_run_that_fails_elsewhere_has_failed(tmp_path: Path) -> None:
    (task,) = works.tasks(tmp_path, 1)
    folder = RunFolder(task.folder)
    told = Told()
    with folder.claim():
        thread = threading.Thread(target=launch, args=([task], works.slow, 1, told), daemon=True)
        thread.start()
        _until(lambda: told.of("busy"))
        folder.write_error("ValueError: no\n")
    thread.join(10)
    assert told.of("failed") == [("0", "in another process: ValueError: no")]


def _work_off(task: Task) -> None:
    works.slow(task, lambda step: None)


def _until(what: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.02)


def test_runs_on_two_gpus_are_dealt_out_as_pairs(tmp_path: Path) -> None:
    tasks = [Task(f"{index:016x}", {"seconds": 0.5}, tmp_path / str(index), devices=2, gpu=True) for index in range(4)]
    Pool(Resources(tasks, gpus=["0", "1", "2", "3"]), Told(), works.slow).run(tasks)
    seen = [lines(task.folder, "gpus")[0] for task in tasks]
    assert seen[:2] == ["0,1", "2,3"]
    assert sorted(seen) == ["0,1", "0,1", "2,3", "2,3"]


def test_the_environment_of_a_worker_is_clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "SLURM_PROCID", "PL_TRAINER_MAX_STEPS", "WANDB_RUN_ID", "MASTER_PORT", "GIT_DIR"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("NORMBENCH_DATA_DIR", "/data")
    (task,) = works.tasks(tmp_path, 1)
    launch([task], works.environment)
    seen = set(lines(task.folder, "environment"))
    assert not seen & {"RANK", "SLURM_PROCID", "PL_TRAINER_MAX_STEPS", "WANDB_RUN_ID", "MASTER_PORT", "GIT_DIR"}
    assert "NORMBENCH_DATA_DIR" in seen
    assert os.environ["RANK"] == "1", "the caller's own environment stays"


def test_a_study_on_several_nodes_is_refused_at_once(tmp_path: Path) -> None:
    tasks = [*works.tasks(tmp_path, 1), Task("a", {}, tmp_path / "a", nodes=2)]
    with pytest.raises(UsageError, match=r"trainer.num_nodes=2: a study on this machine has one; start `normbench"):
        launch(tasks, works.quick)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("seconds", [30])
def test_an_end_from_outside_ends_the_workers(seconds: float, tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    raise_terminated()
    try:
        stop = Told(lambda event, _: os.kill(os.getpid(), signal.SIGTERM) if event == "start" else None)
        with pytest.raises(Terminated):
            launch(works.tasks(tmp_path, 2, seconds=seconds), works.slow, 2, stop)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert workers() == []


def test_launchers_have_names_and_options() -> None:
    with pytest.raises(UsageError, match=r"launch.local.workrs: .*did you mean 'workers'"):
        launcher("local", workrs=1)
    with pytest.raises(UsageError, match="launch: unknown launcher 'locl': did you mean 'local'"):
        launcher("locl")
