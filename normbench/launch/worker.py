"""A warm worker process: imports the libraries once, then trains the tasks that it is sent."""

from __future__ import annotations

import os
import time
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from normbench import environ
from normbench.errors import NormbenchError, RunFolderError
from normbench.launch.ends import SHELL, end_by, raise_terminated
from normbench.launch.launcher import Task
from normbench.launch.orphan import die_with_parent
from normbench.output import outlive_readers
from normbench.spec import DegenerateStatisticWarning
from normbench.spec.gpus import VARIABLE
from normbench.stops import Stopped
from normbench.store.folder import Progress, RunFolder

PROGRESS_SECONDS = 0.5

Work = Callable[[Task, Progress], bool]  # trains a task; False where another process does
Answer = tuple[str, Any]  # what became of a task, and why


def train_task(task: Task, progress: Progress) -> bool:
    """What workers do: see `train_run`."""
    from normbench.launch.single import train_run
    from normbench.spec.keys import from_dict

    return train_run(from_dict(task.config), task.folder, progress) is not None


def serve(pipe: Connection, gpus: tuple[str, ...], work: Work) -> None:
    """Does the tasks that come down the pipe, until None does.

    Answers are ("start", None), ("progress", steps done) and in the end one of ("done", None), ("busy", None),
    ("failed", last line of the error), ("spoiled", the same, and this process ends) or ("fatal", a line that ends
    the study).
    """
    outlive_readers()
    die_with_parent()
    raise_terminated()
    environ.clean()
    warnings.simplefilter("ignore", DegenerateStatisticWarning)  # the plan has said so, once
    if gpus:  # before torch is imported
        os.environ[VARIABLE] = ",".join(gpus)
    try:
        while (task := pipe.recv()) is not None:
            pipe.send(("start", None))
            answer = _do(pipe, task, work)
            pipe.send(answer)
            if answer[0] == "spoiled":
                return
    except (EOFError, BrokenPipeError):
        return
    except Stopped as stop:
        end_by(stop.exit_status - SHELL)


def _do(pipe: Connection, task: Task, work: Work) -> Answer:
    told = 0.0

    def progress(step: int) -> None:
        nonlocal told
        now = time.monotonic()
        if now - told >= PROGRESS_SECONDS:
            told = now
            with suppress(OSError):  # the pool has ended, and this process is about to
                pipe.send(("progress", step))

    return answer(task, work, progress)


def answer(task: Task, work: Work, progress: Progress) -> Answer:
    """What became of a task: see `serve`. An error of the run is an answer, too, and stands in its error.txt."""
    try:
        return ("done" if work(task, progress) else "busy"), None
    except Exception as error:  # one failed run does not stop the others
        text = error_text(error)
        try:
            RunFolder(task.folder).write_error(text)
        except RunFolderError as unwritable:
            return "fatal", str(unwritable)
        if isinstance(error, RunFolderError):
            return "fatal", str(error)
        # After an error that is not ours the process may be unfit for others: errors of CUDA stick, memory is gone.
        return ("failed" if isinstance(error, NormbenchError) else "spoiled"), text.strip().splitlines()[-1]


def error_text(error: Exception) -> str:
    """What error.txt says: the whole traceback, and last the line that a user reads first."""
    text = "".join(traceback.format_exception(error))
    if isinstance(error, NormbenchError) or getattr(error, "__notes__", None):  # a note would be the last line
        said = str(error) if isinstance(error, NormbenchError) else f"{type(error).__name__}: {error}"
        return f"{text}\n{said}\n"
    return text
