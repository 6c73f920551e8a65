"""The launcher for this machine: warm worker processes that share its cores and GPUs."""

from __future__ import annotations

from collections.abc import Sequence

from normbench.launch.launcher import Listener, Task, refuse_nodes
from normbench.launch.pool import Pool
from normbench.launch.resources import Resources
from normbench.launch.worker import Work, train_task
from normbench.spec.values import Count

PLACE = "a study on this machine"


class LocalLauncher:
    """Trains on this machine.

    Args:
        workers: Runs at the same time; by default as many as its cores (threads x devices a run) or GPUs carry.
        cores: Cores to share among runs; by default those that the process may use.
        work: What a worker does with a task (for tests and measurements).
        wait: Whether runs that other processes train are waited for, and taken over if those give them up.
    """

    def __init__(
        self, workers: Count | None = None, work: Work = train_task, wait: bool = True, cores: Count | None = None
    ) -> None:
        self.workers, self.cores, self.work, self.wait = workers, cores, work, wait

    def launch(self, tasks: Sequence[Task], listener: Listener) -> None:
        """See `Launcher`. On an exception (Ctrl-C too) the workers are ended; their runs continue another time."""
        refuse_nodes(tasks, PLACE)
        Pool(Resources(tasks, self.workers, share=self.cores), listener, self.work, self.wait).run(tasks)

    def at_once(self, tasks: Sequence[Task]) -> int:
        """See `Launcher`."""
        refuse_nodes(tasks, PLACE)
        return Resources(tasks, self.workers, share=self.cores).at_once(tasks)
