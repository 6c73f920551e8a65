"""Studies on a real Ray: a cluster that is started for them, and one of two nodes that loses one."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from normbench.launch.ray import RayLauncher
from normbench.store.folder import RunFolder

from ..end_to_end.processes import end, free_port, metrics, seen_live, start, until, write_study
from ..launch import works
from ..launch.test_pool import Told, lines

pytestmark = pytest.mark.engines

GRID = "[0.01, 0.02]"


@pytest.fixture(autouse=True)
def _ray(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")


def test_a_study_gives_the_numbers_of_one_machine(tmp_path: Path) -> None:
    study = write_study(tmp_path, "ray", 20)
    study.write_text(study.read_text().replace(GRID, "[0.01, 0.02, 0.03, 0.04]"))
    status, _, err = end(start("run", study, "--runs", tmp_path / "ray", "--launcher", "ray"), 200)
    assert status == 0, err
    status, _, err = end(start("run", study, "--runs", tmp_path / "local", "--workers", 2), 200)
    assert status == 0, err
    assert len(metrics(tmp_path / "ray")) == 4
    assert metrics(tmp_path / "ray") == metrics(tmp_path / "local"), "to the last bit"


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_study_ends_what_it_started(number: int, status: int, tmp_path: Path) -> None:
    study = write_study(tmp_path, "stopped", 60_000)
    process = start("run", study, "--runs", tmp_path / "runs", "--launcher", "ray")
    try:
        until(lambda: list((tmp_path / "runs").glob("*/metrics.csv")), process)
        assert "running" in seen_live(study, tmp_path / "runs", "/60,000"), "and Ctrl-C there ends nothing else"
    finally:
        process.send_signal(number)
        ended, _, err = end(process, 60)
    assert ended == status, err
    assert "stopped: 0 of 2 runs are done" in err
    states = {RunFolder(path.parent).state() for path in (tmp_path / "runs").glob("*/config.yaml")}
    assert states == {"interrupted"}, "nobody trains them any more"


def begun(nodes: int, **head: int) -> Any:
    """A cluster. Ray gives a node 30 s to start, by no option, which a busy machine does not always keep to."""
    from ray.cluster_utils import Cluster

    for left in (2, 1, 0):
        made = Cluster()
        try:
            made.add_node(include_dashboard=False, **head)
            made.others = [made.add_node(num_cpus=1) for _ in range(nodes - 1)]
        except Exception:
            made.shutdown()
            if not left:
                raise
        else:
            return made
    return None


@pytest.fixture
def cluster() -> Iterator[Any]:
    """Two nodes, one that holds the cluster and one that can be lost."""
    made = begun(2, num_cpus=1)
    yield made
    made.shutdown()


def test_a_node_that_is_killed_in_mid_run_loses_nothing(cluster: Any, tmp_path: Path) -> None:
    tasks, told = works.tasks(tmp_path, 6, seconds=3.0), Told()
    launcher = RayLauncher(address=cluster.address, work=works.slow)
    thread = threading.Thread(target=launcher.launch, args=(tasks, told), daemon=True)
    thread.start()
    _until(lambda: sum((task.folder / "times").exists() for task in tasks) >= 2)
    cluster.remove_node(cluster.others[0], allow_graceful=False)
    thread.join(200)
    assert not thread.is_alive(), told.events
    assert sorted(task for task, _ in told.of("done")) == list("012345")
    assert [len(lines(task.folder, "trainings")) for task in tasks] == [1] * 6
    assert sum(len(lines(task.folder, "times")) for task in tasks) > 12, "one was begun twice"


@pytest.mark.parametrize("times", [1, 2])
def test_a_killed_worker_costs_its_run_another_try(cluster: Any, times: int, tmp_path: Path) -> None:
    tasks, told = works.tasks(tmp_path, 3, signal="SIGKILL", times=times), Told()
    RayLauncher(address=cluster.address, work=works.ended_by).launch(tasks, told)
    assert sorted(task for task, _ in told.of("done")) == list("012")
    assert [len(lines(task.folder, "deaths")) for task in tasks] == [times + 1] * 3


def test_a_run_that_fails_does_not_stop_the_others(cluster: Any, tmp_path: Path) -> None:
    told = Told()
    RayLauncher(address=cluster.address, work=works.failing).launch(works.tasks(tmp_path, 3), told)
    assert told.of("failed") == [("0", "RuntimeError: CUDA error: an illegal memory access was encountered")]
    assert len(told.of("done")) == 2


def test_a_cluster_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    study, nowhere = write_study(tmp_path, "nowhere", 20), f"127.0.0.1:{free_port()}"
    words = ["--runs", tmp_path / "runs", "--launcher", "ray", "--launch", f"address={nowhere}"]
    status, _, err = end(start("run", study, *words), 120)
    assert status == 1, err
    assert f"error: launcher ray: no cluster can be had at {nowhere}: " in err.splitlines()[-1]
    assert "Traceback" not in err


def test_small_runs_share_a_gpu(tmp_path: Path) -> None:
    made = begun(1, num_cpus=4, num_gpus=1)
    try:
        tasks = [_on_gpu(task) for task in works.tasks(tmp_path, 4, together=4)]
        told = Told()
        RayLauncher(address=made.address, work=works.together).launch(tasks, told)
    finally:
        made.shutdown()
    assert [lines(task.folder, "gpus") for task in tasks] == [["0"]] * 4
    assert len(told.of("done")) == 4, "all four at once"
    assert os.environ.get("CUDA_VISIBLE_DEVICES") is None


def _on_gpu(task: Any) -> Any:
    from dataclasses import replace

    return replace(task, gpu=True, gpu_share=0.25)


def _until(what: Any, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.05)
