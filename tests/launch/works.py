"""What workers do in the tests of the pool, in place of training: seen in the run's folder alone."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from normbench.launch.launcher import Task
from normbench.store.folder import Progress, RunFolder

RESULT = {
    "config": {"seed": 0, "model": {"name": "mlp", "norm": "none"}, "data": {"batch_size": 1}},
    "dataset": {"name": "none"},
    "metrics": {},
    "environment": {},
    **dict.fromkeys(("steps", "samples", "parameters", "devices", "virtual_devices", "device_batch"), 1),
    **dict.fromkeys(("images_per_statistic", "lr", "seconds", "wall_seconds"), 1),
}


def tasks(root: Path, count: int, **config: Any) -> list[Task]:
    return [Task(f"{index:016x}", config, root / f"{index:016x}") for index in range(count)]


def note(task: Task, name: str, text: str = "x") -> int:
    """Adds a line to a file of the run's folder and returns how many it has."""
    task.folder.mkdir(parents=True, exist_ok=True)
    with (task.folder / name).open("a") as file:
        file.write(f"{text}\n")
    return len((task.folder / name).read_text().splitlines())


def claimed(task: Task, work: Callable[[], None]) -> bool:
    folder = RunFolder(task.folder)
    with folder.claim() as mine:
        if not mine:
            return False
        if folder.result() is None:
            work()
            note(task, "trainings")
            folder.write_result(RESULT)
        return True


def quick(task: Task, progress: Progress) -> bool:
    return claimed(task, lambda: progress(1))


def slow(task: Task, progress: Progress) -> bool:
    """Takes as long as the task says, and notes when it began and ended, on which GPUs."""

    def work() -> None:
        note(task, "times", str(time.time()))
        time.sleep(task.config.get("seconds", 0.3))
        note(task, "times", str(time.time()))
        note(task, "gpus", os.environ.get("CUDA_VISIBLE_DEVICES", ""))
        note(task, "pid", str(os.getpid()))

    return claimed(task, work)


def together(task: Task, progress: Progress) -> bool:
    """Ends once as many tasks as the task says have begun: never, if they do not run at the same time."""

    def work() -> None:
        note(task, "gpus", os.environ.get("CUDA_VISIBLE_DEVICES", ""))
        deadline = time.monotonic() + 60
        while len(list(task.folder.parent.glob("*/gpus"))) < task.config["together"]:
            assert time.monotonic() < deadline, "the others do not begin"
            time.sleep(0.05)

    return claimed(task, work)


def ended_by(task: Task, progress: Progress) -> bool:
    """The process is ended by a signal, as often as the task says; then it works."""
    if note(task, "deaths") <= task.config["times"]:
        os.kill(os.getpid(), getattr(signal, task.config["signal"]))
        time.sleep(20)
    return quick(task, progress)


def job_ended(task: Task, progress: Progress) -> bool:
    """The first run ends the whole job that it is in, as one does for which memory runs out."""
    if task.run_id.endswith("0"):
        note(task, "deaths")
        with RunFolder(task.folder).claim():
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(60)
    return quick(task, progress)


def failing(task: Task, progress: Progress) -> bool:
    """An error that is not ours on the first task, and the process that it meets on each."""
    note(task, "pid", str(os.getpid()))
    if task.run_id.endswith("0"):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")
    return quick(task, progress)


def environment(task: Task, progress: Progress) -> bool:
    note(task, "environment", "\n".join(sorted(os.environ)))
    return quick(task, progress)
