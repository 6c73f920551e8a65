"""A pool of warm worker processes on this machine. A worker that dies loses only its run, which is retried."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from normbench.errors import NormbenchError, RunFolderError
from normbench.launch.elsewhere import LOOK_SECONDS, Elsewhere
from normbench.launch.ends import advice, how
from normbench.launch.launcher import Event, Listener, Task
from normbench.launch.ranks import ATTEMPTS
from normbench.launch.resources import Gpus, Resources, Taken, Waiting
from normbench.launch.worker import Work, serve
from normbench.store.folder import RunFolder

STOP_SECONDS = 5.0


@dataclass(eq=False)
class _Worker:
    process: BaseProcess
    pipe: Connection
    gpus: Gpus
    task: Task | None = None
    started: bool = False  # it has said that it works on its task


class Pool:
    """Trains tasks in worker processes, each of which serves many.

    Args:
        resources: What the machine has for them.
        listener: Told of every event.
        work: What a worker does with a task.
        wait: Whether runs that other processes train are waited for.
    """

    def __init__(self, resources: Resources, listener: Listener, work: Work, wait: bool = True) -> None:
        # Spawned: a forked copy of a process that has threads (torch, a progress bar) may hang.
        self.context = multiprocessing.get_context("spawn")
        self.resources, self.listener, self.work = resources, listener, work
        self.workers: list[_Worker] = []
        self.attempts: dict[str, int] = {}
        self.stillborn = 0  # workers in a row that ended before they took up a task
        self.waiting = Waiting(())
        self.elsewhere = Elsewhere(listener, wait)

    def run(self, tasks: Sequence[Task]) -> None:
        """Returns when every task is done or has failed. On an exception (Ctrl-C too) the workers are ended."""
        self.waiting = Waiting(tasks)
        try:
            while self.waiting or self.elsewhere or any(worker.task for worker in self.workers):
                while (taken := self.waiting.take(self.resources)) is not None:
                    self._hand_out(taken)
                self._listen()
                for task in self.elsewhere.given_up():
                    self.waiting.put(task)
        finally:
            self._end()

    def _hand_out(self, taken: Taken) -> None:
        """Sends a task to an idle worker that sees the task's GPUs and no others, or to a new one."""
        for worker in [worker for worker in self.workers if worker.task is None]:
            if worker.gpus == taken.gpus:
                if self._send(worker, taken.task):
                    return
            elif set(worker.gpus) & set(taken.gpus):
                self._retire(worker)
        ours, theirs = self.context.Pipe()
        # Not daemonic: a run on many devices starts processes of its own.
        process = self.context.Process(target=serve, args=(theirs, taken.gpus, self.work), name="normbench worker")
        try:
            process.start()
        except OSError as error:
            raise NormbenchError(f"a worker process cannot be started: {error}") from error
        theirs.close()
        worker = _Worker(process, ours, taken.gpus)
        self.workers.append(worker)
        if not self._send(worker, taken.task):
            self._died(_Worker(process, ours, taken.gpus, taken.task))

    def _send(self, worker: _Worker, task: Task) -> bool:
        """Whether a worker took a task; one that has ended is forgotten."""
        try:
            worker.pipe.send(task)
        except OSError:  # it was killed between two tasks
            self._forget(worker)
            return False
        worker.task, worker.started = task, False
        return True

    def _retire(self, worker: _Worker) -> None:
        """Ends an idle worker that is of no use any more."""
        worker.pipe.close()
        self.workers.remove(worker)
        _join(worker.process)

    def _listen(self) -> None:
        """Waits for one round of news from the workers and acts on it."""
        sources: list[Connection | int] = [worker.pipe for worker in self.workers]
        sources += [worker.process.sentinel for worker in self.workers]
        timeout = LOOK_SECONDS if self.elsewhere else None
        if not sources:
            time.sleep(timeout or 0)
            return
        ready = wait(sources, timeout)
        for worker in list(self.workers):
            if worker.pipe in ready:
                try:
                    what, value = worker.pipe.recv()
                except (EOFError, OSError):
                    self._died(worker)
                    continue
                self._answered(worker, what, value)
            elif worker.process.sentinel in ready:
                self._died(worker)

    def _answered(self, worker: _Worker, what: str, value: Any) -> None:
        task = worker.task
        assert task is not None, "a worker speaks of the task that it has"
        if what == "start":
            worker.started, self.stillborn = True, 0
            self.listener("start", task, None)
        elif what == "progress":
            self.listener("progress", task, value)
        elif what == "fatal":
            raise RunFolderError(str(value))
        else:
            worker.task = None
            self.resources.give_back(task, worker.gpus)
            if what == "spoiled":
                self._retire(worker)
            if what == "busy":
                self.elsewhere.add(task)
            else:
                event: Event = "done" if what == "done" else "failed"
                self.listener(event, task, value)

    def _died(self, worker: _Worker) -> None:
        """A worker ended: its run goes back to the front, unless workers have ended with it too often."""
        self._forget(worker)
        task, code = worker.task, worker.process.exitcode
        if task is None:
            return
        self.resources.give_back(task, worker.gpus)
        if not worker.started:  # whatever ended it, it was not this run
            self.stillborn += 1
            if self.stillborn >= ATTEMPTS:
                raise NormbenchError(f"a worker process {how(code)} before it could train; try --debug")
            self.waiting.put_first(task)
            return
        self.attempts[task.run_id] = self.attempts.get(task.run_id, 0) + 1
        if self.attempts[task.run_id] < ATTEMPTS:
            self.waiting.put_first(task)
            self.listener("retry", task, f"its worker {how(code)}")
        else:
            line = f"its worker {how(code)}, {ATTEMPTS} times{advice(code)}"
            RunFolder(task.folder).write_error(line + "\n")
            self.listener("failed", task, line)

    def _forget(self, worker: _Worker) -> None:
        if worker in self.workers:
            self.workers.remove(worker)
        worker.pipe.close()
        _join(worker.process)

    def _end(self) -> None:
        for worker in self.workers:
            if worker.task is not None:
                worker.process.terminate()
            worker.pipe.close()  # an idle worker ends when its pipe does
        deadline = time.monotonic() + STOP_SECONDS
        for worker in self.workers:
            _join(worker.process, max(0.1, deadline - time.monotonic()))
        self.workers = []


def _join(process: BaseProcess, seconds: float = STOP_SECONDS) -> None:
    """Waits for the end of a process that is about to end, and makes it come."""
    process.join(seconds)
    if process.is_alive():
        process.kill()
        process.join()
