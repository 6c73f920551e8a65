"""The launcher for this machine: warm worker processes that share its cores and GPUs."""

from __future__ import annotations

from collections.abc import Sequence

from normbench.launch.launcher import LAUNCHERS, Listener, Task, refuse_nodes
from normbench.launch.pool import Pool
from normbench.launch.resources import Resources
from normbench.launch.worker import Work, train_task
from normbench.spec.registry import entry_of
from normbench.spec.values import Count

PLACE = "a study on this machine"


class LocalLauncher:
    """Trains on this machine.

    Args:
        workers: Runs at the same time; by default as many as its cores (threads x devices a run) or GPUs carry.
        work: What a worker does with a task (for tests and measurements).
    """

    def __init__(self, workers: Count | None = None, work: Work = train_task) -> None:
        self.workers, self.work = workers, work

    def launch(self, tasks: Sequence[Task], listener: Listener) -> None:
        """See `Launcher`. On an exception (Ctrl-C too) the workers are ended; their runs continue another time."""
        refuse_nodes(tasks, PLACE)
        Pool(Resources(tasks, self.workers), listener, self.work).run(tasks)

    def at_once(self, tasks: Sequence[Task]) -> int:
        """See `Launcher`."""
        refuse_nodes(tasks, PLACE)
        return Resources(tasks, self.workers).at_once(tasks)


LAUNCHERS.add(entry_of("local", LocalLauncher, handed=("work",)))
