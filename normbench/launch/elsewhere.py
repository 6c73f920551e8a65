"""Runs that another process trains: waited for, and taken over if that process gives them up."""

from __future__ import annotations

import time

from normbench.launch.launcher import Listener, Task
from normbench.store.folder import RunFolder

LOOK_SECONDS = 1.0


class Elsewhere:
    """Tasks whose run is locked by another process, on this machine or on one that shares the folder.

    Args:
        listener: Told of each once that it is busy, and when it is done or has failed there.
        wait: Whether they are waited for; otherwise they are told of and left to the others.
    """

    def __init__(self, listener: Listener, wait: bool = True) -> None:
        self.listener, self.wait = listener, wait
        self._errors: dict[Task, float | None] = {}  # time of error.txt when the run was found busy
        self._known: set[str] = set()
        self._looked = 0.0

    def __len__(self) -> int:
        return len(self._errors)

    def add(self, task: Task) -> None:
        """Remembers a task that could not be claimed."""
        if self.wait:
            self._errors[task] = error_time(task)
        if task.run_id not in self._known:
            self._known.add(task.run_id)
            self.listener("busy", task, None)

    def given_up(self) -> list[Task]:
        """Tasks that nobody works on any more and that have no result: ours to train. Looks once a second."""
        if not self._errors or time.monotonic() - self._looked < LOOK_SECONDS:
            return []
        self._looked = time.monotonic()
        ours: list[Task] = []
        for task, before in list(self._errors.items()):
            state = RunFolder(task.folder).state()
            if state == "running":
                continue
            del self._errors[task]
            if state == "done":
                self.listener("done", task, None)
            elif state == "failed" and error_time(task) != before:
                self.listener("failed", task, f"in another process: {RunFolder(task.folder).error()}")
            else:
                ours.append(task)
        return ours


def error_time(task: Task) -> float | None:
    """When the run of a task was last recorded to have failed."""
    try:
        return RunFolder(task.folder).error_path.stat().st_mtime
    except OSError:
        return None
