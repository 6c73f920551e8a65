"""Studies on a real Slurm of two virtual nodes: whatever happens to jobs and nodes, no run is lost or trained twice."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from normbench.launch.launcher import Task
from normbench.launch.slurm import SlurmLauncher
from normbench.store.folder import RunFolder

from ..conftest import REPOSITORY
from ..end_to_end.processes import end, metrics, results, start, until, write_study
from ..launch import works
from ..launch.test_pool import Told, lines

pytestmark = [pytest.mark.engines, pytest.mark.usefixtures("slurm")]

GRID = "[0.01, 0.02]"
OPTIONS = ["--launcher", "slurm", "--launch", "seconds=0.5", "--launch", "minutes=5"]


def slurm_says(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def queued(*words: str) -> list[str]:
    return slurm_says("squeue", "--noheader", "--array", "--format", "%i", *words).split()


def waited_for(what: Callable[[], Any], seconds: float = 120) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, (
            f"it did not come to that: {slurm_says('squeue')}{slurm_says('sinfo', '-N')}"
        )
        time.sleep(0.1)
    return found


class Launched:
    """Tasks launched in a thread, so that the test can do harm meanwhile."""

    def __init__(self, tasks: list[Task], **options: Any) -> None:
        self.tasks, self.told = tasks, Told()
        self.error: BaseException | None = None
        launcher = SlurmLauncher(**{"seconds": 0.5, "minutes": 5, "work": works.slow} | options)

        def run() -> None:
            try:
                launcher.launch(tasks, self.told)
            except BaseException as error:
                self.error = error

        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()

    def begun(self) -> list[Task]:
        return [task for task in self.tasks if (task.folder / "times").exists()]

    def ended(self, seconds: float = 300) -> Told:
        self.thread.join(seconds)
        assert not self.thread.is_alive(), f"{self.told.events} {slurm_says('squeue')}{slurm_says('sinfo', '-N')}"
        assert self.error is None, self.error
        assert sorted(task for task, _ in self.told.of("done")) == sorted(task.run_id[-1] for task in self.tasks)
        assert [len(lines(task.folder, "trainings")) for task in self.tasks] == [1] * len(self.tasks), "none twice"
        assert all(RunFolder(task.folder).state() == "done" for task in self.tasks)
        waited_for(lambda: not queued())
        return self.told


def test_an_array_of_twenty_runs_gives_the_numbers_of_one_machine(tmp_path: Path) -> None:
    study = write_study(tmp_path, "array", 20)
    study.write_text(study.read_text().replace(GRID, str([round(0.01 * rate, 2) for rate in range(1, 21)])))
    status, _, err = end(start("run", study, "--runs", tmp_path / "slurm", *OPTIONS, "--launch", "pack=5"), 300)
    assert status == 0, err
    assert "20 of 20 runs to train: " in err
    assert "with 4 workers" in err
    assert ", launcher slurm (" in err
    status, _, err = end(start("run", study, "--runs", tmp_path / "local", "--workers", 2), 300)
    assert status == 0, err
    assert len(metrics(tmp_path / "slurm")) == 20
    assert metrics(tmp_path / "slurm") == metrics(tmp_path / "local"), "to the last bit"


def test_a_killed_job_is_put_into_the_queue_again(tmp_path: Path) -> None:
    launched = Launched(works.tasks(tmp_path, 4, seconds=8.0), pack=2, cpus=1, workers=1)
    waited_for(launched.begun)
    (job,) = queued("--states", "RUNNING")
    subprocess.run(["scancel", "--full", "--signal", "KILL", job], check=True)
    told = launched.ended()
    assert any("ended before it was done" in str(why) for _, why in told.of("retry"))


def test_a_run_that_ends_its_job_ends_no_others(tmp_path: Path) -> None:
    tasks = works.tasks(tmp_path, 4)
    launched = Launched(tasks, pack=4, cpus=1, work=works.job_ended)
    launched.thread.join(200)
    assert launched.error is None
    assert [task for task, _ in launched.told.of("failed")] == ["0"]
    assert sorted(task for task, _ in launched.told.of("done")) == ["1", "2", "3"]
    assert len(lines(tasks[0].folder, "deaths")) == 3


def test_a_job_that_is_cancelled_by_hand_three_times_has_failed(tmp_path: Path) -> None:
    launched = Launched(works.tasks(tmp_path, 1, seconds=60.0), pack=1)
    for _ in range(3):
        (job,) = waited_for(queued)
        subprocess.run(["scancel", job], check=True)
        waited_for(lambda gone=job: gone not in queued())
    launched.thread.join(60)
    ((_, line),) = launched.told.of("failed")
    assert "ended 3 times before it was done: see" in line


def test_a_killed_node_loses_nothing(slurm: Path, tmp_path: Path) -> None:
    launched = Launched(works.tasks(tmp_path, 6, seconds=3.0), pack=1, cpus=2)
    waited_for(lambda: len(launched.begun()) >= 2)
    daemon = psutil.Process(int((slurm / "pid" / "slurmd-node2").read_text()))
    daemon.kill()
    for process in psutil.process_iter():  # a node that is gone takes all that ran there with it
        with suppress(psutil.Error):
            if process.environ().get("SLURMD_NODENAME") == "node2" and process.environ().get("SLURM_CONF") == str(
                slurm / "slurm.conf"
            ):
                process.kill()
    try:
        launched.ended()
    finally:
        subprocess.run(["slurmd", "-N", "node2"], check=True)
        subprocess.run(["scontrol", "update", "NodeName=node2", "State=RESUME"], check=False, capture_output=True)
        waited_for(lambda: slurm_says("sinfo", "-h", "-p", "low", "-t", "idle", "-o", "%D").strip() == "2")


def test_a_preempted_job_goes_on(tmp_path: Path) -> None:
    launched = Launched(works.tasks(tmp_path, 4, seconds=4.0), pack=1, cpus=2, partition="low")
    waited_for(lambda: len(launched.begun()) >= 2)
    words = [
        "sbatch",
        "--partition",
        "high",
        "--nodes",
        "2",
        "--exclusive",
        "--output",
        "/dev/null",
        "--wrap",
        "sleep 2",
    ]
    slurm_says(*words)
    launched.ended()
    assert len(launched.begun()) == 4
    assert sum(len(lines(task.folder, "times")) for task in launched.tasks) > 8, "some were begun twice"


def test_a_run_on_two_nodes_with_two_processes_each_is_that_of_one_machine(tmp_path: Path) -> None:
    study = write_study(tmp_path, "nodes", 20, devices=2)
    study.write_text(study.read_text().replace(GRID, "[0.01]").replace("devices: 2", "devices: 2, num_nodes: 2"))
    status, _, err = end(start("run", study, "--runs", tmp_path / "slurm", *OPTIONS), 300)
    logs = "\n".join(path.read_text() for path in (tmp_path / "slurm").glob(".slurm/*/*log.*"))
    assert status == 0, err + logs
    (result,) = results(tmp_path / "slurm").values()
    assert result["environment"]["processes"] == 4
    assert result["devices"] == 4
    four = write_study(tmp_path, "four", 20, devices=4)
    four.write_text(four.read_text().replace(GRID, "[0.01]"))
    assert end(start("run", four, "--runs", tmp_path / "local"), 300)[0] == 0
    (local,) = results(tmp_path / "local").values()
    assert result["metrics"] == local["metrics"]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_study_takes_its_jobs_out_of_the_queue(number: int, status: int, tmp_path: Path) -> None:
    study = write_study(tmp_path, "stopped", 60_000)
    process = start("run", study, "--runs", tmp_path / "runs", *OPTIONS)
    until(lambda: list((tmp_path / "runs").glob("*/metrics.csv")), process)
    process.send_signal(number)
    ended, _, err = end(process, 60)
    assert ended == status, err
    assert err.splitlines()[-1].startswith("stopped: 0 of 2 runs are done")
    waited_for(lambda: not queued())


def test_a_job_whose_time_is_nearly_up_goes_on_in_another(tmp_path: Path) -> None:
    launched = Launched(works.tasks(tmp_path, 2, seconds=4.0), pack=2, cpus=1)
    waited_for(launched.begun)
    (job,) = queued()
    subprocess.run(["scancel", "--signal", "USR2", job], check=True)  # what Slurm sends `warning` seconds before
    launched.ended()


def test_what_slurm_does_not_take_is_one_line(tmp_path: Path) -> None:
    study = write_study(tmp_path, "refused", 20)
    status, _, err = end(start("run", study, "--runs", tmp_path / "runs", *OPTIONS, "--launch", "partition=none"))
    assert status == 2
    assert "launcher slurm: the jobs cannot be submitted: " in err
    assert "invalid partition" in err.lower()
    assert REPOSITORY.exists()
