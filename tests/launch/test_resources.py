"""Dealing out cores and GPUs. No GPU is needed: what a worker sees is an environment variable."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from normbench.launch import resources
from normbench.launch.launcher import Task
from normbench.launch.resources import Resources, Waiting


def task(name: str = "a", **needs: Any) -> Task:
    return Task(name, {}, Path(name), **needs)


def started(tasks: list[Task], **options: Any) -> list[tuple[str, str]]:
    """Run ids and GPUs of what can be started together."""
    free, waiting = Resources(tasks, **options), Waiting(tasks)
    found = []
    while (taken := waiting.take(free)) is not None:
        found.append((taken.task.run_id, ",".join(taken.gpus)))
    return found


@pytest.fixture(autouse=True)
def _eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "cores", lambda: 8)
    monkeypatch.setattr(resources, "visible_gpus", lambda: ["4", "5"])


@pytest.mark.parametrize(("devices", "threads", "count"), [(1, 1, 8), (4, 1, 2), (2, 2, 2), (1, 3, 2), (16, 1, 1)])
def test_runs_share_the_cores(devices: int, threads: int, count: int) -> None:
    tasks = [task(str(index), devices=devices, threads=threads) for index in range(20)]
    assert len(started(tasks)) == count
    assert Resources(tasks).at_once(tasks) == count


def test_a_small_run_goes_before_one_that_does_not_fit() -> None:
    tasks = [task("a", devices=4), task("b", devices=8), task("c", devices=2), task("d", devices=2)]
    assert [name for name, _ in started(tasks)] == ["a", "c", "d"]


def test_a_number_of_workers_is_obeyed() -> None:
    tasks = [task(str(index), devices=4) for index in range(9)]
    assert len(started(tasks, workers=5)) == 5


def test_gpus_are_dealt_out_by_what_runs_ask_for() -> None:
    pairs = [task(str(index), devices=2, gpu=True) for index in range(3)]
    assert started(pairs, gpus=["0", "1", "2", "3"]) == [("0", "0,1"), ("1", "2,3")]
    single = [task("s", gpu=True), task("t", devices=2, gpu=True), task("u", gpu=True), task("v", gpu=True)]
    assert started(single, gpus=["0", "1", "2", "3"]) == [("s", "0"), ("t", "1,2"), ("u", "3")]
    assert started([task(gpu=True, devices=4)], gpus=["0", "1"]) == [("a", "0,1")]


def test_workers_take_visible_gpus_in_turn() -> None:
    tasks = [task(str(index), gpu=True) for index in range(4)]
    assert [gpus for _, gpus in started(tasks, workers=3)] == ["4", "5", "4"]
    assert [gpus for _, gpus in started(tasks)] == ["4", "5"]


@pytest.mark.parametrize(("gpu_share", "count"), [(1.0, 2), (0.6, 2), (0.5, 4), (0.333, 6), (0.1, 20)])
def test_small_runs_share_gpus(gpu_share: float, count: int) -> None:
    tasks = [task(str(index), gpu=True, gpu_share=gpu_share) for index in range(30)]
    dealt = [gpus for _, gpus in started(tasks)]
    assert len(dealt) == Resources(tasks).at_once(tasks) == count
    assert dealt.count("4") == dealt.count("5") == count // 2
    assert len(started(tasks, workers=3)) == 3, "a number of workers is obeyed whatever the share"


def test_a_run_goes_where_its_share_is_free() -> None:
    runs = [
        *(task(str(index), gpu=True, gpu_share=0.5) for index in range(3)),
        task("pair", gpu=True, gpu_share=0.5, devices=2),
        task("whole", gpu=True),
        task("last", gpu=True, gpu_share=0.5),
    ]
    free = Resources(runs)
    assert [free.take(run) for run in runs] == [("4",), ("5",), ("4",), None, None, ("5",)]
    free.give_back(runs[0], ("4",))
    assert free.take(runs[4]) is None
    free.give_back(runs[2], ("4",))
    assert free.take(runs[4]) == ("4",)


def test_runs_on_the_cpu_see_all_gpus() -> None:
    assert started([task()]) == [("a", "")]


def test_what_is_given_back_is_free() -> None:
    run = task(devices=8)
    free = Resources([run])
    assert free.take(run) == ()
    assert free.take(run) is None
    free.give_back(run, ())
    assert free.take(run) == ()


def test_a_task_put_first_goes_first() -> None:
    waiting = Waiting([task("a"), task("b", threads=2)])
    waiting.put(task("c"))
    waiting.put_first(task("d", threads=2))
    free = Resources([])
    order = []
    while (taken := waiting.take(free)) is not None:
        order.append(taken.task.run_id)
    assert order == ["d", "a", "b", "c"]
    assert len(waiting) == 0
