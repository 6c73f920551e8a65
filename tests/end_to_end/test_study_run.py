"""Studies of real digits that are killed, stopped and started twice, as it happens."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from normbench.spec import yaml_text
from normbench.store.folder import CHECKPOINT, RESULT
from normbench.study import PlannedRun, load_study, make_plan
from normbench.train.run import train

from ..conftest import start_cli

pytestmark = pytest.mark.slow

PLUGIN = '''
import os
from pathlib import Path

from normbench import register_norm


@register_norm("counted", axes="nothing", scope="none", same_in_eval=True)
def counted(num_channels, spatial=True):
    """Says in a file that it is trained: one line a training. Trials are in float64 or without gradients."""
    import torch
    from torch import nn

    class Counted(nn.Module):
        told = False

        def forward(self, x):
            if self.training and torch.is_grad_enabled() and x.dtype == torch.float32 and not self.told:
                self.told = True
                with Path(os.environ["TRAININGS"]).open("a") as file:
                    file.write(f"{os.getpid()}\\n")
            return x

    return Counted()


@register_norm("broken", axes="nothing", scope="none", same_in_eval=True)
def broken(num_channels, spatial=True):
    """Fails where no check can foresee it."""
    import torch
    from torch import nn

    class Broken(nn.Module):
        def forward(self, x):
            if self.training and torch.is_grad_enabled() and x.dtype == torch.float32:
                raise RuntimeError("this norm is broken")
            return x

    return Broken()
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("studies")


def write_study(folder: Path, digits: str, name: str, steps: int, **changes: Any) -> Path:
    """A study of two small runs that take `steps` steps, with many checkpoints."""
    tree = {
        "name": name,
        "question": "What survives?",
        "base": {
            "data": {"name": digits, "batch_size": 32, "train_samples": 1_024},
            "model": {"name": "cnn", "channels": [4], "stride": 2, "pool": "none", "hidden": [16], "dropout": 0.2},
            "budget": {"steps": steps},
            "trainer": {"accelerator": "cpu", "validations": 2, "loss_points": 20, "checkpoints": 60},
        },
        "grid": {"model.norm": ["batch", "layer"]},
        "seeds": 1,
        "compare": {"factor": "model.norm", "baseline": "batch"},
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml_text(tree | changes))
    return path


@pytest.fixture(scope="module")
def long_study(folder: Path, digits: str) -> Path:
    return write_study(folder, digits, "long", 900)


@pytest.fixture(scope="module")
def undisturbed(long_study: Path, folder: Path) -> dict[str, dict[str, Any]]:
    """What each run of the long study comes to, trained here, by itself."""
    return {run.id: train(run.config, folder / "undisturbed" / run.id) for run in planned(long_study)}


def planned(path: Path) -> list[PlannedRun]:
    return make_plan(load_study(path)).runs


Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts studies, and ends whatever is left of them after the test."""
    processes: list[subprocess.Popen[str]] = []

    def begin(*argv: object, **environment: str) -> subprocess.Popen[str]:
        processes.append(start_cli("run", *argv, env={**os.environ, **environment}))
        return processes[-1]

    yield begin
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def until(what: Callable[[], object], process: subprocess.Popen[str] | None = None, seconds: float = 60) -> None:
    """Waits for `what`; fails where the process has ended before, or time has run out."""
    deadline = time.monotonic() + seconds
    while not what():
        if process is not None and process.poll() is not None:
            pytest.fail(f"ended with {process.returncode}: {process.communicate()}")
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.01)


def workers(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The processes that train."""
    children = psutil.Process(process.pid).children(recursive=True)
    return [child for child in children if "spawn_main" in " ".join(child.cmdline())]


def in_the_middle(runs: Path) -> list[str]:
    """Ids of the runs that have a checkpoint and no result."""
    found = {path.parent.name for path in runs.glob(f"*/{CHECKPOINT}")}
    return sorted(found - {path.parent.name for path in runs.glob(f"*/{RESULT}")})


def results(runs: Path) -> dict[str, dict[str, Any]]:
    return {path.parent.name: json.loads(path.read_text()) for path in runs.glob(f"*/{RESULT}")}


def same(one: dict[str, dict[str, Any]], other: dict[str, dict[str, Any]]) -> bool:
    """Whether all results agree in all that no clock and no commit made meanwhile decides."""
    without = [
        {
            key: {k: v for k, v in result.items() if "second" not in k and k != "environment"}
            for key, result in all_.items()
        }
        for all_ in (one, other)
    ]
    return without[0] == without[1]


def end(process: subprocess.Popen[str], seconds: float = 100) -> tuple[int, str]:
    _, err = process.communicate(timeout=seconds)
    return process.returncode, err


def test_a_killed_worker_loses_nothing(
    long_study: Path, undisturbed: dict[str, dict[str, Any]], tmp_path: Path, start: Start
) -> None:
    process = start(long_study, "--runs", tmp_path, "--workers", 2)
    until(lambda: in_the_middle(tmp_path), process)
    workers(process)[0].kill()
    status, err = end(process)
    assert status == 0, err
    assert "again: norm" in err
    assert "its worker was ended by SIGKILL; continuing from its last checkpoint" in err
    assert same(results(tmp_path), undisturbed)


def test_a_study_that_is_stopped_and_killed_goes_on(
    long_study: Path, undisturbed: dict[str, dict[str, Any]], tmp_path: Path, start: Start
) -> None:
    runs = tmp_path
    words = (long_study, "--runs", tmp_path, "--workers", 1)

    process = start(*words)
    until(lambda: in_the_middle(runs), process)
    children = workers(process)
    assert children
    os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does: to all of them
    status, err = end(process, 30)
    assert status == 130
    assert "stopped: 0 of 2 runs are done; the same command continues" in err
    assert "Traceback" not in err
    assert not any(child.is_running() for child in children), "no orphans"
    (half,) = in_the_middle(runs)

    process = start(*words)
    until(lambda: results(runs) and in_the_middle(runs), process)
    assert half in results(runs), "the run that was begun is ended first"
    children = workers(process)
    written = {path: path.stat().st_mtime_ns for path in runs.glob(f"*/{RESULT}")}
    process.kill()
    end(process)
    until(lambda: not any(child.is_running() for child in children), seconds=10)

    said = subprocess.run(
        [*start_words("status"), str(long_study), "--runs", str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert "long: 1 done, 1 interrupted" in said.stdout

    status, err = end(start(*words))
    assert status == 0, err
    assert "1 of 2 runs to train" in err
    assert {path: path.stat().st_mtime_ns for path in written} == written, "no finished run is repeated"
    assert same(results(runs), undisturbed)

    status, err = end(start(*words))
    assert (status, err) == (0, "long: all 2 runs are done\n")


def start_words(command: str) -> list[str]:
    import sys

    return [sys.executable, "-m", "normbench", command]


def test_a_run_that_fails_does_not_stop_the_others(folder: Path, digits: str, tmp_path: Path, start: Start) -> None:
    (folder / "plugin.py").write_text(PLUGIN)
    path = write_study(
        folder, digits, "failing", 6, plugins=["plugin.py"], grid={"model.norm": ["broken", "batch", "layer"]}
    )
    status, err = end(start(path, "--runs", tmp_path, "--workers", 1, TRAININGS=str(tmp_path / "log")))
    assert status == 1
    assert "FAILED (RuntimeError: this norm is broken)" in err
    assert "failed: norm broken, seed 0: RuntimeError: this norm is broken (" in err
    assert "Traceback" not in err
    assert len(results(tmp_path)) == 2
    failed = {run.cell["model.norm"]: tmp_path / run.id for run in planned(path)}["broken"]
    assert "Traceback" in (failed / "error.txt").read_text(), "the whole story is in the run's folder"
    assert not (failed / RESULT).exists()
    said = subprocess.run(
        [*start_words("status"), str(path), "--runs", str(tmp_path)], capture_output=True, text=True, check=True
    ).stdout
    assert f"failed      {failed.name}  norm broken, seed 0: RuntimeError: this norm is broken" in said
    assert "failing: 2 done, 1 failed" in said


def test_two_studies_at_once_share_the_runs(folder: Path, digits: str, tmp_path: Path, start: Start) -> None:
    (folder / "plugin.py").write_text(PLUGIN)
    path = write_study(
        folder,
        digits,
        "shared",
        150,
        plugins=["plugin.py"],
        grid={"model.norm": ["counted"], "optimizer.lr": [0.1, 0.05, 0.02]},
        compare={"factor": "optimizer.lr", "baseline": 0.1},
    )
    log = tmp_path / "log"
    words = (path, "--runs", tmp_path, "--workers", 1)
    processes = [start(*words, TRAININGS=str(log)) for _ in range(2)]
    for process in processes:
        status, err = end(process)
        assert status == 0, err
    # One of them may have ended while the other still trained what it had left to it.
    assert len(results(tmp_path)) == 3
    assert len(log.read_text().splitlines()) == 3, "each run was trained once"
