"""A pool of warm worker processes on this machine. A worker that dies loses only its run, which is retried."""

from __future__ import annotations

import multiprocessing
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Literal

from normbench.errors import NormbenchError, RunFolderError
from normbench.launch.ranks import ATTEMPTS
from normbench.launch.worker import serve
from normbench.spec.schema import to_dict
from normbench.store.folder import ERROR, write_atomically
from normbench.study.study import PlannedRun

STOP_SECONDS = 5.0

Event = Literal["start", "progress", "done", "busy", "failed", "retry"]
Listener = Callable[[Event, PlannedRun, object], None]


@dataclass(eq=False)
class _Worker:
    process: BaseProcess
    pipe: Connection
    slot: int
    run: PlannedRun | None = None


class Pool:
    """Trains runs in `workers` processes, each of which serves many runs.

    Args:
        workers: Number of processes.
        folder: Folder of the study's runs.
        listener: Told of every event: what, which run, and the step, the error line or nothing.
        gpus: GPUs to deal out to the workers in turn; none: every worker sees all of them.
    """

    def __init__(self, workers: int, folder: Path, listener: Listener, gpus: Sequence[str] = ()) -> None:
        # Spawned: a forked copy of a process that has threads (torch, a progress bar) may hang.
        self.context = multiprocessing.get_context("spawn")
        self.count, self.folder, self.listener, self.gpus = workers, folder, listener, list(gpus)
        self.workers: list[_Worker] = []
        self.attempts: dict[str, int] = {}

    def run(self, runs: Iterable[PlannedRun]) -> None:
        """Returns when every run is done or has failed. On an exception (Ctrl-C too) the workers are ended."""
        queue = deque(runs)
        try:
            for _ in range(min(self.count, len(queue))):
                self.workers.append(self._spawn())
            while queue or any(worker.run for worker in self.workers):
                self._listen(queue)
            for worker in self.workers:
                worker.pipe.send(None)
        except OSError as error:
            raise NormbenchError(f"the worker processes cannot be reached: {error}") from error
        finally:
            self._end()

    def _spawn(self) -> _Worker:
        ours, theirs = self.context.Pipe()
        # Not daemonic: a run on many devices starts processes of its own.
        slot = min(set(range(self.count)) - {worker.slot for worker in self.workers}, default=0)
        process = self.context.Process(target=serve, args=(theirs, self.gpus, slot), name="normbench worker")
        process.start()
        theirs.close()
        return _Worker(process, ours, slot)

    def _listen(self, queue: deque[PlannedRun]) -> None:
        """Waits for one round of news from the workers and acts on it."""
        sources: list[Connection | int] = [worker.pipe for worker in self.workers]
        ready = wait([*sources, *(worker.process.sentinel for worker in self.workers)])
        for worker in list(self.workers):
            if worker.pipe in ready:
                try:
                    what, value = worker.pipe.recv()
                except (EOFError, OSError):
                    self._replace(worker, queue)
                    continue
                self._answer(worker, what, value, queue)
            elif worker.process.sentinel in ready:
                self._replace(worker, queue)

    def _answer(self, worker: _Worker, what: str, value: object, queue: deque[PlannedRun]) -> None:
        if what == "progress" and worker.run:
            self.listener("progress", worker.run, value)
            return
        if what == "fatal":
            raise RunFolderError(str(value))
        if worker.run:
            event: Event = what  # type: ignore[assignment]  # what `serve` answers, a str once it has been through a pipe
            self.listener(event, worker.run, value)
        worker.run = queue.popleft() if queue else None
        if worker.run:
            self.listener("start", worker.run, None)
            worker.pipe.send((to_dict(worker.run.config), self.folder / worker.run.id))

    def _replace(self, worker: _Worker, queue: deque[PlannedRun]) -> None:
        """A worker died: its run goes back to the front, unless it has died with it too often."""
        self.workers.remove(worker)
        worker.process.join()
        worker.pipe.close()
        run, code = worker.run, worker.process.exitcode
        if run is None and code != 0 and not any(other.run for other in self.workers):
            raise NormbenchError(f"a worker process ended with status {code} before it could train; try --debug")
        if run is not None:
            self.attempts[run.id] = self.attempts.get(run.id, 0) + 1
            why = f"its worker was ended by signal {-code}" if code and code < 0 else f"its worker exited with {code}"
            if self.attempts[run.id] < ATTEMPTS:
                queue.appendleft(run)
                self.listener("retry", run, why)
            else:
                line = f"{why}, {ATTEMPTS} times: out of memory? try fewer workers"
                write_atomically(self.folder / run.id / ERROR, line + "\n")
                self.listener("failed", run, line)
        if queue:
            self.workers.append(self._spawn())

    def _end(self) -> None:
        deadline = time.monotonic() + STOP_SECONDS
        for worker in self.workers:
            if worker.run is not None:
                worker.process.terminate()
            worker.pipe.close()  # an idle worker ends when its pipe does
        for worker in self.workers:
            worker.process.join(max(0.1, deadline - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
        self.workers = []
