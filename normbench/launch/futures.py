"""Runs on any `concurrent.futures.Executor`: a process pool, Dask, Ray, a scheduler behind that face."""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor

from normbench.errors import NormbenchError, RunFolderError, UsageError
from normbench.launch.elsewhere import LOOK_SECONDS, Elsewhere
from normbench.launch.launcher import Listener, Task, refuse_nodes
from normbench.launch.ranks import ATTEMPTS
from normbench.launch.worker import Answer, Work, answer, train_task
from normbench.store.folder import RunFolder

IN_FLIGHT = 1_000  # tasks that an engine is given at once, so that ten thousand take no more memory than one thousand

Submit = Callable[[Task], "Future[Answer]"]


class ExecutorLauncher:
    """Trains on an executor that somebody made. It is not shut down.

    Args:
        executor: The executor; its workers are processes that see the run folders.
        workers: Tasks that it is given at once.
        work: What a worker does with a task; importable where it runs.
        wait: See `LocalLauncher`.
    """

    def __init__(
        self, executor: Executor, workers: int = IN_FLIGHT, work: Work = train_task, wait: bool = True
    ) -> None:
        if isinstance(executor, ThreadPoolExecutor):
            raise UsageError("ThreadPoolExecutor: threads share torch's random numbers: use one of processes")
        self.executor, self.workers, self.work, self.wait = executor, workers, work, wait

    def launch(self, tasks: Sequence[Task], listener: Listener) -> None:
        """See `Launcher`. On an exception (Ctrl-C too) tasks that have not begun are withdrawn."""
        refuse_nodes(tasks, "an executor")
        Futures(self._submit, listener, self.workers, self.wait).run(tasks)

    def at_once(self, tasks: Sequence[Task]) -> int:
        """See `Launcher`."""
        return max(1, min(self.workers, len(tasks)))

    def _submit(self, task: Task) -> Future[Answer]:
        return self.executor.submit(do, task, self.work)


def do(task: Task, work: Work) -> Answer:
    """What became of a task that was trained here; to be called in a process that has nothing else to do."""
    return answer(task, work, lambda step: None)


class Futures:
    """Tasks handed to an engine, each of which becomes a future.

    Args:
        submit: Hands one over.
        listener: Told of every event but the start and the steps of a run, which no future tells.
        limit: Tasks handed over at the same time.
        wait: See `LocalLauncher`.
        withdraw: What ends a task that is handed over; by default `Future.cancel`.
    """

    def __init__(
        self,
        submit: Submit,
        listener: Listener,
        limit: int = IN_FLIGHT,
        wait: bool = True,
        withdraw: Callable[[Future[Answer]], object] = Future.cancel,
    ) -> None:
        self.submit, self.listener, self.limit, self.withdraw = submit, listener, limit, withdraw
        self.elsewhere = Elsewhere(listener, wait)
        self.running: dict[Future[Answer], Task] = {}
        self.ended: queue.SimpleQueue[Future[Answer]] = queue.SimpleQueue()
        self.attempts: dict[str, int] = {}
        self.waiting: deque[Task] = deque()

    def run(self, tasks: Sequence[Task]) -> None:
        """Returns when every task is done or has failed. On an exception what has been handed over is withdrawn."""
        self.waiting.extend(tasks)
        try:
            while self.waiting or self.running or self.elsewhere:
                while self.waiting and len(self.running) < self.limit:
                    self._hand_over(self.waiting.popleft())
                self._listen()
                self.waiting.extend(self.elsewhere.given_up())
        except BaseException:
            for future in self.running:
                self.withdraw(future)
            raise

    def _hand_over(self, task: Task) -> None:
        try:
            future = self.submit(task)
        except RuntimeError as error:  # BrokenExecutor among them
            raise _broken(error) from error
        self.running[future] = task
        future.add_done_callback(self.ended.put)

    def _listen(self) -> None:
        try:
            future = self.ended.get(timeout=LOOK_SECONDS if self.elsewhere else None)
        except queue.Empty:
            return
        task = self.running.pop(future)
        try:
            what, value = future.result()
        except (Exception, CancelledError) as error:
            self._lost(task, error)
            return
        if what == "fatal":
            raise RunFolderError(str(value))
        if what == "busy":
            self.elsewhere.add(task)
        else:
            self.listener("done" if what == "done" else "failed", task, value)

    def _lost(self, task: Task, error: BaseException) -> None:
        """The engine, not the run, has failed: the run is handed over again, up to ATTEMPTS times in all."""
        said = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        self.attempts[task.run_id] = self.attempts.get(task.run_id, 0) + 1
        if self.attempts[task.run_id] < ATTEMPTS:
            self.waiting.appendleft(task)
            self.listener("retry", task, said)
        else:
            RunFolder(task.folder).write_error(f"{said}\n")
            self.listener("failed", task, said)


def _broken(error: BaseException) -> NormbenchError:
    said = " ".join(str(error).split())[:200]
    return NormbenchError(f"the executor takes no more runs ({said}); with a new one the same call continues")
