"""The launcher for a Slurm cluster: arrays of jobs, each of which trains several runs on its share of a node.

The run folders say what became of the runs. Slurm is asked for one thing only, by `squeue`: which jobs are still in its
queue. So it needs no accounting, and a job that was requeued, preempted or lost is none that has to be understood.
"""

from __future__ import annotations

import math
import secrets
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from normbench.errors import NormbenchError, UsageError
from normbench.launch.elsewhere import Elsewhere, error_time
from normbench.launch.job import Nodes, Pack
from normbench.launch.launcher import Listener, Task
from normbench.launch.needs import needed
from normbench.launch.ranks import ATTEMPTS
from normbench.launch.resources import Resources
from normbench.launch.worker import Work, train_task
from normbench.spec.values import Count, Positive
from normbench.store.folder import RunFolder

LARGEST_ARRAY = 1_000  # jobs; Slurm's own limit is 1,001 where nobody changed it
ANSWER_SECONDS = 120  # which a busy controller may take
REQUEUES = 1_000  # a run that takes many time limits is not given up for that
ORDINARY = {"None", "Priority", "Resources", "JobArrayTaskLimit", "BeginTime"}  # why jobs wait, and need no word
LOGS = ".slurm"  # beside the run folders


class SlurmLauncher:
    """Trains on a Slurm cluster whose nodes share the run folders.

    Args:
        partition: Where jobs run; by default the cluster's default.
        account: Who is charged.
        qos: Quality of service.
        constraint: Features that a node must have.
        minutes: Time limit of a job, which goes on in a new one if it needs longer.
        warning: Seconds before that limit at which a job is told to end and to queue again.
        cpus: Cores of a job; by default those of its largest run.
        gpus: GPUs of a job; by default those of its largest run.
        memory: GB of a job; by default the cluster's default.
        pack: Runs of a job, which share its cores and GPUs.
        workers: Jobs of an array (of up to 1,000) at the same time; by default as many as the cluster admits.
        seconds: How often the queue and the run folders are looked at.
        setup: Shell lines before a job begins, such as `module load cuda`.
        extra: Other options of sbatch, by name: `{reservation: course, exclusive: true}`.
        work: What a worker does with a task (for tests and measurements).
        wait: See `LocalLauncher`.
    """

    def __init__(  # noqa: PLR0913  (each is an option of the user's)
        self,
        *,
        partition: str | None = None,
        account: str | None = None,
        qos: str | None = None,
        constraint: str | None = None,
        minutes: Count = 60,
        warning: Count = 90,
        cpus: Count | None = None,
        gpus: Count | None = None,
        memory: Positive | None = None,
        pack: Count = 8,
        workers: Count | None = None,
        seconds: Positive = 5.0,
        setup: list[str] = [],  # noqa: B006  (never changed)
        extra: dict[str, Any] = {},  # noqa: B006
        work: Work = train_task,
        wait: bool = True,
    ) -> None:
        named = {"partition": partition, "account": account, "qos": qos, "constraint": constraint}
        self.asked: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
        self.asked |= {"time": minutes, "signal_delay_s": warning, "additional_parameters": dict(extra)}
        if memory is not None:
            self.asked["mem"] = f"{math.ceil(memory * 1000)}M"
        if setup:
            self.asked["setup"] = list(setup)
        self.cpus, self.gpus = cpus, gpus
        self.pack, self.workers, self.seconds, self.work, self.wait = pack, workers, seconds, work, wait

    def launch(self, tasks: Sequence[Task], listener: Listener) -> None:
        """See `Launcher`. On an exception (Ctrl-C too) the jobs are cancelled; their runs continue another time."""
        if not tasks:
            return
        needed("submitit", "slurm")
        here = [replace(task, folder=task.folder.resolve()) for task in tasks]
        _Watched(self, listener, here[0].folder.parent / LOGS).run(here)

    def at_once(self, tasks: Sequence[Task]) -> int:
        """See `Launcher`. How much room the cluster has is not asked."""
        jobs = self.packed(tasks)
        at_once = [1 if job[0].nodes > 1 else self.resources(job).at_once(job) for job in jobs]
        return max(1, sum(sorted(at_once, reverse=True)[: self.workers]))

    def packed(self, tasks: Sequence[Task]) -> list[list[Task]]:
        """The tasks of each job: up to `pack` of those that need the same; one that needs several nodes alone."""
        kinds: dict[tuple[Any, ...], list[Task]] = {}
        for task in tasks:
            kinds.setdefault((task.nodes, task.gpu, task.gpu_share, task.devices, task.threads), []).append(task)
        return [
            found[first : first + size]
            for (nodes, *_), found in kinds.items()
            for size in [1 if nodes > 1 else self.pack]
            for first in range(0, len(found), size)
        ]

    def cores(self, job: Sequence[Task]) -> int:
        """Cores that a job asks for, on each of its nodes."""
        return self.cpus or max(task.devices * task.threads for task in job)

    def devices(self, job: Sequence[Task]) -> int:
        """GPUs that a job asks for, on each of its nodes."""
        return (self.gpus or max(task.devices for task in job)) if job[0].gpu else 0

    def resources(self, job: Sequence[Task]) -> Resources:
        """What the runs of a job share."""
        return Resources(job, gpus=[str(index) for index in range(self.devices(job))], share=self.cores(job))

    def submit(self, jobs: Sequence[list[Task]], name: str, logs: Path) -> list[str]:
        """Ids of the jobs, in Slurm's queue now. All of them need the same."""
        submitit = needed("submitit", "slurm")
        first = jobs[0]
        nodes, cpus, gpus = first[0].nodes, self.cores(first), self.devices(first)
        found: list[str] = []
        for begin in range(0, len(jobs), LARGEST_ARRAY):
            part = jobs[begin : begin + LARGEST_ARRAY]
            made = [Nodes(job[0], self.work) if nodes > 1 else Pack(job, cpus, self.work) for job in part]
            try:
                engine = submitit.SlurmExecutor(folder=logs / "%j", max_num_timeout=REQUEUES)
                engine.update_parameters(
                    job_name=name,
                    nodes=nodes,
                    ntasks_per_node=1,
                    cpus_per_task=cpus,
                    gres=f"gpu:{gpus}" if gpus else None,
                    array_parallelism=self.workers or LARGEST_ARRAY,
                    **self.asked,
                )
                with engine.batch():
                    submitted = [engine.submit(one) for one in made]
            except (submitit.core.utils.FailedJobError, RuntimeError, OSError) as error:
                said = " ".join(str(error).split())[-300:]
                raise UsageError(f"launcher slurm: the jobs cannot be submitted: {said}") from None
            found += [str(one.job_id) for one in submitted]
        return found


@dataclass
class _Watched:
    """The jobs of one launch, watched to the end of their runs."""

    launcher: SlurmLauncher
    listener: Listener
    logs: Path
    name: str = field(default_factory=lambda: f"normbench-{secrets.token_hex(4)}")
    jobs: dict[str, list[Task]] = field(default_factory=dict)  # by id: their tasks that have not ended
    sizes: dict[str, int] = field(default_factory=dict)  # by id: how many tasks they had
    errors: dict[str, float | None] = field(default_factory=dict)  # when a task's last failure was, before its job
    attempts: dict[str, int] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)  # jobs that the queue did not have when it was last looked at
    told: str = ""

    def run(self, tasks: list[Task]) -> None:
        elsewhere = Elsewhere(self.listener, self.launcher.wait)
        waiting = tasks
        try:
            while waiting or self.jobs or elsewhere:
                self._submit(waiting)
                time.sleep(self.launcher.seconds)
                waiting = self._look(elsewhere) + elsewhere.given_up()
        except BaseException:
            self._cancel()
            raise

    def _cancel(self) -> None:
        """Takes all jobs from the queue, by name: one may have been submitted just now."""
        words = ["scancel", "--name", self.name]
        try:
            subprocess.run(words, check=True, capture_output=True, timeout=ANSWER_SECONDS)
        except (subprocess.SubprocessError, OSError):
            print(f"Slurm does not answer: `{' '.join(words)}` ends what is in its queue", file=sys.stderr)

    def _submit(self, tasks: Sequence[Task]) -> None:
        for task in tasks:
            self.errors[task.run_id] = error_time(task)
        # A run that was under way when its job ended may be what ended it: it gets a job of its own.
        jobs = self.launcher.packed([task for task in tasks if task.run_id not in self.attempts])
        jobs += [[task] for task in tasks if task.run_id in self.attempts]
        kinds: dict[Any, list[list[Task]]] = {}
        for job in jobs:
            first = job[0]
            kinds.setdefault((first.nodes, first.gpu, first.gpu_share, first.devices, first.threads), []).append(job)
        for same in kinds.values():
            ids = self.launcher.submit(same, self.name, self.logs)
            self.jobs.update(zip(ids, map(list, same), strict=True))
            self.sizes.update(zip(ids, map(len, same), strict=True))

    def _look(self, elsewhere: Elsewhere) -> list[Task]:
        """Tells of runs that have ended; returns those whose job has ended without them."""
        queued = self._queued()
        lost: list[Task] = []
        for job, tasks in list(self.jobs.items()):
            for task in [task for task in tasks if RunFolder(task.folder).result_path.exists()]:
                if RunFolder(task.folder).state() == "done":
                    tasks.remove(task)
                    self.listener("done", task, None)
            if queued is None or job in queued:
                self.gone.discard(job)
                continue
            if tasks and job not in self.gone:  # a shared disk may show the last files late
                self.gone.add(job)
                continue
            del self.jobs[job]
            begun = {task.run_id for task in tasks if RunFolder(task.folder).state() != "waiting"}
            useless = not begun and len(tasks) == self.sizes[job]  # a job that did nothing is not repeated for ever
            lost += [task for task in tasks if self._left(task, job, elsewhere, useless or task.run_id in begun)]
        return lost

    def _left(self, task: Task, job: str, elsewhere: Elsewhere, counts: bool) -> bool:
        """Whether a task whose job has ended is to be trained again; if it had no part in that, for nothing."""
        folder = RunFolder(task.folder)
        state = folder.state()
        if state == "done":
            self.listener("done", task, None)
        elif state == "running":
            elsewhere.add(task)
        elif state == "failed" and error_time(task) != self.errors[task.run_id]:
            self.listener("failed", task, folder.error())
        elif not counts:
            return True
        else:
            self.attempts[task.run_id] = self.attempts.get(task.run_id, 0) + 1
            if self.attempts[task.run_id] < ATTEMPTS:
                self.listener("retry", task, f"job {job} ended before it was done")
                return True
            line = f"its jobs, the last {job}, ended {ATTEMPTS} times before it was done: see {self.logs}"
            folder.write_error(line + "\n")
            self.listener("failed", task, line)
        return False

    def _queued(self) -> set[str] | None:
        """Ids of our jobs that Slurm has not ended; None where it does not answer."""
        words = ["squeue", "--noheader", "--array", "--name", self.name, "--format", "%i|%T|%r"]
        try:
            answer = subprocess.run(words, check=True, capture_output=True, timeout=ANSWER_SECONDS)
        except FileNotFoundError:
            raise NormbenchError(
                "launcher slurm: there is no squeue here: start it where Slurm's commands are"
            ) from None
        except (subprocess.SubprocessError, OSError):  # the controller is busy, or is started anew
            self._tell("squeue does not answer: asking again")
            return None
        lines = answer.stdout.decode(errors="replace").splitlines()
        rows = [line.split("|", 2) for line in lines if line.count("|") >= 2]
        reasons = sorted({reason for _, state, reason in rows if state == "PENDING"} - ORDINARY)
        said = ", ".join(reasons) if rows and all(state == "PENDING" for _, state, _ in rows) else ""
        self._tell(f"all jobs of {self.name} wait: {said}" if said else "")
        return {job for job, *_ in rows}

    def _tell(self, line: str) -> None:
        """Says why nothing goes on, once as long as it holds."""
        if line and line != self.told:
            print(line, file=sys.stderr)
        self.told = line
