"""A study trained: what is left of it is handed to a launcher, and what came of that is told."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from normbench.errors import NormbenchError, UsageError
from normbench.launch.futures import ExecutorLauncher
from normbench.launch.launcher import Launcher, Task, task_of
from normbench.launch.options import chosen
from normbench.launch.progress import Display
from normbench.spec import RunConfig
from normbench.stops import Stopped, with_advice
from normbench.store import Store, make_folder, open_store
from normbench.study import Plan, PlannedRun, Study, describe, estimate, iter_pending, load_study, make_plan
from normbench.tracking.mode import settled


@dataclass(frozen=True)
class Left:
    """Runs of a study to train.

    Args:
        plan: The plan.
        runs: Those of its runs that are to be trained now.
        store: Where results are.
        count: How many runs are asked for, finished ones included.
    """

    plan: Plan
    runs: list[PlannedRun]
    store: Store
    count: int

    @cached_property
    def tasks(self) -> list[Task]:
        """The runs as a launcher takes them."""
        return tasks_of(self.runs, self.store)

    def missing(self) -> list[PlannedRun]:
        """Those of the runs that have no result now."""
        done = self.store.finished([run.id for run in self.runs])
        return [run for run in self.runs if run.id not in done]


def prepared(study: Study, store: Store) -> Plan:
    """The plan of a study that is to be trained: data are made available, it is recorded, broken results set aside."""
    make_folder(store.root)
    plan = make_plan(study, fallback=falls_back(study))
    store.record(study.name, plan.ids, {run.id: run.cell for run in plan.runs})
    for run_id in store.broken(plan.ids):
        print(store.folder(run_id).set_aside(), file=sys.stderr)
    return plan


def train_left(
    left: Left, launcher: Launcher, seconds: Callable[[RunConfig], float] = estimate
) -> list[tuple[PlannedRun, str]]:
    """Trains what is left; returns the runs that failed, each with the line that says why.

    Args:
        left: What is left.
        launcher: What trains it.
        seconds: How long a run takes, for the display.

    Raises:
        Stopped: Ctrl-C; the same call continues.
        Terminated: SIGTERM; the same call continues.
    """
    try:
        with settled(left.plan.study.base.logger), Display(left.runs, seconds=seconds) as display:
            launcher.launch(left.tasks, display)
    except (KeyboardInterrupt, Stopped) as stop:
        done = f"{left.count - len(left.missing())} of {left.count} runs are done"
        raise with_advice(
            stop, f"{done}; the same command continues, unfinished runs from their last checkpoint"
        ) from None
    return display.failed


def tasks_of(runs: Sequence[PlannedRun], store: Store) -> list[Task]:
    """Runs as a launcher takes them."""
    return [task_of(run.id, run.config, store.folder(run.id).path) for run in runs]


def run_study(
    study: str | Path | Study,
    runs: str | Path = "runs",
    executor: Executor | None = None,
    launcher: str | None = None,
    **options: Any,
) -> Plan:
    """Trains what a study has left, as `normbench run` does, and returns its plan.

    Example:
        >>> from concurrent.futures import ProcessPoolExecutor
        >>> with ProcessPoolExecutor(2) as executor:  # doctest: +SKIP
        ...     normbench.run_study("quick", executor=executor)

    Args:
        study: A study, its file, or its name in experiments/.
        runs: Folder of the run folders.
        executor: Any executor of processes that see that folder; None: a launcher of normbench's own.
        launcher: Its name; None: that of the machine's file, or else local.
        options: Its options, such as `workers=2`.

    Raises:
        UsageError: An executor and a launcher are given; or the study has planned looks.
        NormbenchError: Runs have failed, or have no result; all others are trained first.
    """
    if executor is not None and (launcher or options):
        raise UsageError("run_study: give an executor, or a launcher with its options: not both")
    study = study if isinstance(study, Study) else load_study(study)
    if study.looks is not None:
        raise UsageError(f"study {study.name} is looked at in between: train it by `normbench run`")
    store = open_store(Path(runs).resolve())
    plan = prepared(study, store)
    left = Left(plan, list(iter_pending(plan, store.finished(plan.ids))), store, len(plan.runs))
    if left.runs:
        engine = ExecutorLauncher(executor) if executor is not None else chosen(study, launcher, options).build()
        failed = train_left(left, engine)
        if failed:
            (run, line), more = failed[0], f", and {len(failed) - 1} more" if failed[1:] else ""
            raise NormbenchError(f"failed: {describe(run.cell)}, seed {run.seed}: {line}{more}")
        if missing := left.missing():
            raise NormbenchError(f"{len(missing)} of {left.count} runs have no result: repeat the call")
    return plan


def falls_back(study: Study) -> bool:
    """Makes the data available, and tells whether mnist is replaced by the embedded digits.

    A download, or the fall-back, is decided once and before any worker starts.
    """
    from normbench.data import ensure

    fell_back = False
    for data in make_plan(study, fallback=False).data_sets:
        fell_back |= ensure(data) != data.name
    return fell_back
