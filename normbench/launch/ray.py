"""The launcher for a Ray cluster, one that runs or one that is started here: a core task for each run."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from normbench.environ import DOCUMENTED
from normbench.errors import NormbenchError
from normbench.launch.futures import IN_FLIGHT, Futures, do
from normbench.launch.launcher import Listener, Task, refuse_nodes
from normbench.launch.needs import needed
from normbench.launch.resources import Resources
from normbench.launch.worker import Answer, Work, train_task
from normbench.machine import cores
from normbench.spec.values import Count, Number, Positive

# Those of the cluster's own processes that are not to be replaced by this one's.
OWN = {"CUDA_VISIBLE_DEVICES", "TMPDIR", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT"}
ANSWER_SECONDS = 20.0


class RayLauncher:
    """Trains on a Ray cluster whose nodes share the run folders. Ray keeps processes of CPU runs warm.

    Args:
        address: A cluster that runs, such as "auto" or "node0:6379"; by default one is started on this machine.
        workers: Runs at the same time, at most; by default as many as the cluster has room for.
        memory: GB of memory that a run is given; by default it is not counted.
        retries: How often Ray starts a run again whose process or node was lost.
        work: What a worker does with a task (for tests and measurements).
        wait: See `LocalLauncher`.
    """

    def __init__(
        self,
        address: str | None = None,
        workers: Count | None = None,
        memory: Positive | None = None,
        retries: Number = 3,
        work: Work = train_task,
        wait: bool = True,
    ) -> None:
        self.address, self.workers, self.memory, self.retries = address, workers, memory, retries
        self.work, self.wait = work, wait
        self._refs: dict[Future[Answer], Any] = {}

    def launch(self, tasks: Sequence[Task], listener: Listener) -> None:
        """See `Launcher`. On an exception (Ctrl-C too) its tasks are ended, and a cluster of its own is."""
        refuse_nodes(tasks, "a task of Ray")
        ray = needed("ray", "ray")
        self._begin(ray)
        remote = ray.remote(_there)
        place, environment = Path.cwd(), _environment()

        def submit(task: Task) -> Future[Answer]:
            there = replace(task, folder=task.folder.resolve())
            ref = remote.options(**self.needs(task)).remote(there, self.work, place, environment)
            future: Future[Answer] = ref.future()
            self._refs[future] = ref
            future.add_done_callback(lambda ended: self._refs.pop(ended, None))
            return future

        def withdraw(future: Future[Answer]) -> None:
            if (ref := self._refs.get(future)) is not None:
                with suppress(Exception):  # the cluster may be what has failed
                    ray.cancel(ref, force=True)

        try:
            Futures(submit, listener, min(self.workers or IN_FLIGHT, IN_FLIGHT), self.wait, withdraw).run(tasks)
        finally:
            ray.shutdown()

    def at_once(self, tasks: Sequence[Task]) -> int:
        """See `Launcher`. How much room a cluster elsewhere has is not asked."""
        if self.address is None:
            return min(Resources(tasks).at_once(tasks), self.workers or len(tasks))
        return max(1, min(self.workers or len(tasks), len(tasks)))

    def needs(self, task: Task) -> dict[str, Any]:
        """What Ray is asked for, for a task. A run that asks for more cores than this machine has goes alone."""
        wanted = task.devices * task.threads
        found: dict[str, Any] = {
            "num_cpus": wanted if self.address else min(wanted, cores()),
            "max_retries": self.retries,
        }
        if task.gpu:
            # Several devices of a run are several GPUs, of which Ray gives whole ones only.
            found["num_gpus"] = task.devices if task.devices > 1 else task.gpu_share
        if self.memory:
            found["memory"] = int(self.memory * 1e9)
        return found

    def _begin(self, ray: Any) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # Ray takes GPUs away from tasks that asked for none; the name says that this is to become its default.
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        told = signal.getsignal(signal.SIGTERM)
        quiet = {"configure_logging": False, "log_to_driver": False}
        where = f"at {self.address}" if self.address else "on this machine"
        try:
            if self.address is None:
                ray.init(num_cpus=cores(), include_dashboard=False, **quiet)
            else:
                _knock(self.address)
                ray.init(address=self.address, **quiet)
        except Exception as error:  # no cluster there, or a node that took more than the 30 s that Ray gives it
            said = " ".join(str(error).split())[:300]
            raise NormbenchError(f"launcher ray: no cluster can be had {where}: {said}") from None
        if threading.current_thread() is threading.main_thread():  # Ray has put its own in their place, which aborts
            signal.signal(signal.SIGTERM, told)


def _knock(address: str) -> None:
    """Raises OSError where nothing answers at host:port; Ray itself tries that for minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdigit() and "/" not in host:
        socket.create_connection((host, int(port)), ANSWER_SECONDS).close()


def _environment() -> dict[str, str]:
    names = {name for names in DOCUMENTED for name in names.split(", ")} - OWN
    return {name: os.environ[name] for name in names if name in os.environ}


def _there(task: Task, work: Work, place: Path, environment: Mapping[str, str]) -> Answer:
    """Trains a task on some node of the cluster, in the folder where the command was given if that has it, too."""
    with suppress(OSError):
        os.chdir(place)
    os.environ.update(environment)
    return do(task, work)
