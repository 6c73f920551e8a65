"""What a job of Slurm does: trains a pack of runs on its share of a node, or one run on several nodes."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from normbench.launch.launcher import Event, Task
from normbench.launch.local import LocalLauncher
from normbench.launch.worker import Work, answer

FIRST_PORT, PORTS = 20_000, 10_000  # below those that systems give to whoever asks for any


class _Again(ABC):
    """A job that can be put into the queue again as it is: what it has done stands in the run folders."""

    @abstractmethod
    def __call__(self) -> object:
        """Does it."""

    def checkpoint(self) -> Any:
        """What submitit puts into the queue when the job is preempted or its time is up."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


@dataclass
class Pack(_Again):
    """Trains runs, as many at once as the job's cores and GPUs carry.

    Args:
        tasks: The runs.
        cores: Cores of the job.
        work: What a worker does with a task.
    """

    tasks: Sequence[Task]
    cores: int
    work: Work

    def __call__(self) -> int:
        """The number of runs that were done. Those that others train are left to them."""
        done = 0

        def listener(event: Event, task: Task, value: object) -> None:
            nonlocal done
            done += event == "done"
            if event != "progress":
                print(event, task.run_id, value or "", flush=True)

        LocalLauncher(cores=self.cores, work=self.work, wait=False).launch(self.tasks, listener)
        return done


@dataclass
class Nodes(_Again):
    """Trains one run on the nodes of the job; started once on each.

    Args:
        task: The run.
        work: What is done with it.
    """

    task: Task
    work: Work

    def __call__(self) -> str:
        """What became of the run, told on node 0."""
        from submitit import JobEnvironment

        place = JobEnvironment()
        os.environ["NODE_RANK"] = str(place.node)
        # A task prolog may know an address that the nodes' names do not lead to.
        os.environ.setdefault("MASTER_ADDR", place.hostnames[0])
        os.environ["MASTER_PORT"] = str(FIRST_PORT + int(os.environ["SLURM_JOB_ID"]) % PORTS)
        if place.node > 0:  # node 0 tells of errors
            self.work(self.task, lambda step: None)
            return ""
        what, why = answer(self.task, self.work, lambda step: None)
        print(what, self.task.run_id, why or "", flush=True)
        return what
