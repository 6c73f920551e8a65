"""The cores and GPUs of this machine, dealt out by what runs ask for."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

from normbench.launch.launcher import Task
from normbench.machine import cores
from normbench.spec.gpus import visible_gpus

Gpus = tuple[str, ...]  # as CUDA_VISIBLE_DEVICES names them; none: all that the process sees


class Resources:
    """What is free on this machine.

    Without a number of workers, a run on the CPU takes threads x devices cores, and a run on GPUs its share of one for
    each of its devices. With a number, so many runs go at once, on cores and GPUs that they share if need be.

    Args:
        tasks: The tasks that will be asked for.
        workers: Runs at the same time; None: what the machine carries.
        gpus: GPUs to deal out; None: those that are visible.
        share: Cores to deal out; None: those that this process may use.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        workers: int | None = None,
        gpus: Sequence[str] | None = None,
        share: int | None = None,
    ) -> None:
        self.workers, self.cores = workers, share or cores()
        self.load: dict[str, Fraction] = dict.fromkeys(visible_gpus() if gpus is None else gpus, Fraction(0))
        self.runs = self.used = 0

    def take(self, task: Task) -> Gpus | None:
        """Takes what a task needs and returns its GPUs; None where too little is free for now."""
        if self.workers is not None and self.runs >= self.workers:
            return None
        if not task.gpu or not self.load:
            # A run that asks for more than there is goes alone.
            if self.workers is None and self.used and self.used + _cores(task) > self.cores:
                return None
            self.used += _cores(task)
            self.runs += 1
            return ()
        count = min(task.devices, len(self.load))  # too few GPUs: the run itself says so
        share = _gpu_share(task)
        room = [name for name, load in self.load.items() if self.workers is not None or load + share <= 1]
        free = sorted(room, key=lambda name: self.load[name])
        if len(free) < count:
            return None
        order = list(self.load)
        chosen = tuple(sorted(free[:count], key=order.index))
        for name in chosen:
            self.load[name] += share
        self.runs += 1
        return chosen

    def give_back(self, task: Task, gpus: Gpus) -> None:
        """Frees what `take` gave for a task."""
        self.runs -= 1
        if not gpus:
            self.used -= _cores(task)
        for name in gpus:
            self.load[name] -= _gpu_share(task)

    def at_once(self, tasks: Sequence[Task]) -> int:
        """How many of the tasks, in their order, can be started together; what was taken stays taken."""
        waiting, count = Waiting(tasks), 0
        while waiting.take(self) is not None:
            count += 1
        return max(1, count)


class Taken(NamedTuple):
    """A task with the GPUs that are its."""

    task: Task
    gpus: Gpus


class Waiting:
    """Tasks that wait, in order; one that needs little may go before one that needs more than is free.

    Those with the same needs share a queue, so that thousands that do not fit are asked about once.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._queues: dict[tuple[bool, float, int, int], deque[tuple[int, Task]]] = {}
        self._last, self._first = 0, 0
        for task in tasks:
            self.put(task)

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def put(self, task: Task) -> None:
        """Adds a task at the end."""
        self._last += 1
        self._queue(task).append((self._last, task))

    def put_first(self, task: Task) -> None:
        """Adds a task that is to be started before all others."""
        self._first -= 1
        self._queue(task).appendleft((self._first, task))

    def take(self, resources: Resources) -> Taken | None:
        """The first task for which there is enough, no longer waiting; None where there is none."""
        for queue in sorted((queue for queue in self._queues.values() if queue), key=lambda queue: queue[0][0]):
            task = queue[0][1]
            gpus = resources.take(task)
            if gpus is not None:
                queue.popleft()
                return Taken(task, gpus)
        return None

    def _queue(self, task: Task) -> deque[tuple[int, Task]]:
        return self._queues.setdefault((task.gpu, task.gpu_share, task.devices, task.threads), deque())


def _cores(task: Task) -> int:
    return task.devices * task.threads


def _gpu_share(task: Task) -> Fraction:
    """As it is written: ten runs of 0.1 fill a GPU, and three of 0.333."""
    return Fraction(str(task.gpu_share))
