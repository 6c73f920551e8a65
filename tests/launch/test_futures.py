"""Runs on executors that others make."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import normbench
from normbench.errors import NormbenchError, UsageError
from normbench.launch.futures import ExecutorLauncher
from normbench.launch.launcher import Task
from normbench.store.folder import RunFolder

from ..cli.conftest import study  # noqa: F401  (a fixture)
from . import works
from .test_pool import Told, lines


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as executor:
        yield executor


def test_all_tasks_are_done_once(pool: ProcessPoolExecutor, tmp_path: Path) -> None:
    told, tasks = Told(), works.tasks(tmp_path, 6)
    ExecutorLauncher(pool, workers=3, work=works.quick).launch(tasks, told)
    assert sorted(task for task, _ in told.of("done")) == list("012345")
    assert [len(lines(task.folder, "trainings")) for task in tasks] == [1] * 6


def test_a_failed_run_does_not_stop_the_others(pool: ProcessPoolExecutor, tmp_path: Path) -> None:
    told = Told()
    ExecutorLauncher(pool, work=works.failing).launch(works.tasks(tmp_path, 3), told)
    assert told.of("failed") == [("0", "RuntimeError: CUDA error: an illegal memory access was encountered")]
    assert len(told.of("done")) == 2


def test_a_run_that_another_process_trains_is_waited_for(pool: ProcessPoolExecutor, tmp_path: Path) -> None:
    (task,) = works.tasks(tmp_path, 1)
    with RunFolder(task.folder).claim():
        told = Told()
        ExecutorLauncher(pool, work=works.quick, wait=False).launch([task], told)
        assert told.of("busy") == [("0", None)], "without waiting it is left to the other"
    ExecutorLauncher(pool, work=works.quick).launch([task], told)
    assert len(told.of("done")) == 1


def test_an_executor_that_loses_a_worker_takes_no_more_and_the_next_one_goes_on(tmp_path: Path) -> None:
    tasks = works.tasks(tmp_path, 3, signal="SIGKILL", times=1)
    with (
        ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as executor,
        pytest.raises(NormbenchError, match=r"the executor takes no more runs \(.*with a new one the same call"),
    ):
        ExecutorLauncher(executor, workers=1, work=works.ended_by).launch(tasks[:1], Told())
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as executor:
        ExecutorLauncher(executor, workers=1, work=works.quick).launch(tasks, told := Told())
    assert len(told.of("done")) == 3


class _Flaky(Executor):
    """An engine that loses what it is given, as often as it is told."""

    def __init__(self, times: int) -> None:
        self.times = times

    def submit(self, fn: Any, /, *arguments: Any, **named: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.times -= 1
        if self.times >= 0:
            future.set_exception(OSError("node lost"))
        else:
            future.set_result(fn(*arguments, **named))
        return future


@pytest.mark.parametrize(("times", "end"), [(2, "done"), (3, "failed")])
def test_what_an_engine_loses_is_handed_over_again_three_times(times: int, end: str, tmp_path: Path) -> None:
    (task,), told = works.tasks(tmp_path, 1), Told()
    ExecutorLauncher(_Flaky(times), work=works.quick).launch([task], told)
    assert [event for event, _, _ in told.events] == ["retry", "retry", end]
    assert RunFolder(task.folder).state() == end


def test_threads_are_refused() -> None:
    with ThreadPoolExecutor(1) as executor, pytest.raises(UsageError, match="threads share torch's random numbers"):
        ExecutorLauncher(executor)


def test_no_more_tasks_are_handed_over_than_at_once(tmp_path: Path) -> None:
    executor = _Counting()
    ExecutorLauncher(executor, workers=4, work=works.quick).launch(works.tasks(tmp_path, 20), Told())
    assert executor.most == 4


class _Counting(Executor):
    """Does the first of what waits whenever something more is asked for, or four wait."""

    def __init__(self) -> None:
        self.open: list[tuple[Future[Any], Any, Any]] = []
        self.most = 0

    def submit(self, fn: Any, /, *arguments: Any, **named: Any) -> Future[Any]:
        self.open.append((Future(), fn, arguments))
        made = self.open[-1][0]
        self.most = max(self.most, len(self.open))
        if len(self.open) == 4:
            for future, call, values in self.open:
                future.set_result(call(*values))
            self.open = []
        return made


@pytest.mark.slow
def test_a_study_runs_on_any_executor(study: Any, tmp_path: Path, pool: ProcessPoolExecutor) -> None:  # noqa: F811
    path = study()
    plan = normbench.run_study(path, tmp_path / "executor", executor=pool)
    normbench.run_study(path, tmp_path / "local", workers=1)
    for run in plan.runs:
        one, other = (RunFolder(tmp_path / name / run.id).result() for name in ("executor", "local"))
        assert one is not None
        assert other is not None
        assert one["metrics"] == other["metrics"]
        assert one["environment"]["processes"] == 1
    assert normbench.run_study(path, tmp_path / "executor").ids == plan.ids, "nothing is left"


def test_an_executor_and_a_launcher_are_not_given_together(pool: ProcessPoolExecutor) -> None:
    with pytest.raises(UsageError, match="give an executor, or a launcher with its options: not both"):
        normbench.run_study("quick", executor=pool, workers=2)


def test_runs_on_several_nodes_are_refused(tmp_path: Path, pool: ProcessPoolExecutor) -> None:
    with pytest.raises(UsageError, match=r"trainer.num_nodes=2: an executor has one"):
        ExecutorLauncher(pool).launch([Task("a", {}, tmp_path / "a", nodes=2)], Told())
    assert os.listdir(tmp_path) == []  # noqa: PTH208
