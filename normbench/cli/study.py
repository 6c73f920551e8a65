"""`normbench plan`, `run` and `status`: a study's runs before, while and after they are trained."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from normbench.cli.devices import refuse_missing_devices
from normbench.cli.options import folder, number, positive
from normbench.errors import NormbenchError, Stopped, Terminated

if TYPE_CHECKING:
    from normbench.cli.looks import Ask
    from normbench.launch import Task
    from normbench.store import Store
    from normbench.study import Plan, PlannedRun, Study

ORDER = ("done", "running", "failed", "interrupted", "broken", "waiting")


def add_commands(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Adds the commands to the parser."""
    plan = add("plan", _plan, "print the runs of a study, what is skipped, done, and left, without training")
    run = add("run", _run, "train the runs of a study that have no result yet")
    status = add("status", _status, "tell which runs are done, running, failed or waiting")
    status.add_argument("--live", action="store_true", help="show the curves of running runs, until all are done")
    for sub in (plan, run, status):
        add_study(sub)
    for sub in (plan, run):
        sub.add_argument(
            "--workers", type=positive, help="worker processes (default: cores / threads of a run, or GPUs / devices)"
        )
        add_data_dir(sub)


def add_data_dir(sub: argparse.ArgumentParser) -> None:
    """Adds the option that says where the images are."""
    sub.add_argument("--data-dir", type=folder, help="folder with MNIST/raw/*-ubyte (also: NORMBENCH_DATA_DIR)")


def add_study(sub: argparse.ArgumentParser) -> None:
    """Adds what names a study, or a smaller one made from it."""
    sub.add_argument("study", help="a study file, or the name of one in experiments/")
    sub.add_argument("--runs", type=folder, default=Path("runs"), help="folder of all run folders (default: runs)")
    smoke = sub.add_argument_group("a smaller study, called <name>-smoke, that never mixes with the real one")
    smoke.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="set a key in every cell")
    smoke.add_argument("--seeds", type=positive, metavar="N", help="train N seeds")
    smoke.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="AXIS=LABEL,LABEL",
        help="keep these labels of an axis; again for more",
    )


def chosen_study(options: argparse.Namespace) -> Study:
    """The study that a command line names, made smaller if it says so."""
    from normbench.cli.arguments import only_options, set_options
    from normbench.study import changed_study, load_study

    study = load_study(options.study)
    if options.set or options.seeds or options.only:
        axes = {axis: [str(level.label) for level in levels] for axis, levels in study.axes.items()}
        return changed_study(study, set_options(options.set), options.seeds, only_options(options.only, axes))
    return study


def open_store(root: Path) -> Store:
    """The store at `root`, which takes no result whose configuration has another id than its folder."""
    from normbench.spec.identity import StoredIds
    from normbench.store import Store

    return Store(root, StoredIds().of)


def tasks_of(runs: Sequence[PlannedRun], store: Store) -> list[Task]:
    """Runs as a launcher takes them."""
    from normbench.launch import task_of

    return [task_of(run.id, run.config, store.folder(run.id).path) for run in runs]


def use_data_dir(options: argparse.Namespace) -> None:
    """Lets this process and those that it starts look for images where `--data-dir` says."""
    if options.data_dir:
        os.environ["NORMBENCH_DATA_DIR"] = str(options.data_dir.resolve())


def _plan(options: argparse.Namespace) -> int:
    from normbench.cli.looks import look_lines
    from normbench.cli.measured import measured, time_told
    from normbench.launch import launcher
    from normbench.study import describe, iter_pending, next_plan

    use_data_dir(options)
    study, store = chosen_study(options), open_store(options.runs)
    plan = next_plan(study, store.ids_of(study.name))
    done = store.finished(plan.ids)
    print(f"{study.name}: {study.question}")
    for run in plan.runs:
        print(f"  {run.id}  {'done' if run.id in done else 'to do'}  {describe(run.cell)}, seed {run.seed}")
    for cell, reason in plan.skipped:
        print(f"  skipped           {describe(cell)}: {reason}")
    _say_fall_back(plan)
    _say_warnings(plan, store)
    left = list(iter_pending(plan, done))
    workers = launcher("local", workers=options.workers).at_once(tasks_of(left or plan.runs, store))
    told = f": {time_told(left, measured(plan, store, left), workers)}" if left else ""
    print(
        f"{number(len(plan.runs), 'run')} ({number(len(plan.runs) // len(study.seeds), 'cell')}, "
        f"{number(len(study.seeds), 'seed')}), {number(len(plan.skipped), 'cell')} skipped, "
        f"{number(len(plan.runs) - len(left), 'run')} done, {len(left)} to do{told}"
    )
    for line in look_lines(plan, store):
        print(line)
    return 0


def _say_warnings(plan: Plan, store: Store) -> None:
    """What a plan warns of, and results of an older layout that wait to be moved."""
    from normbench.store.move import waiting_line

    for line in plan.warnings:
        print(f"warning: {line}", file=sys.stderr)
    if waiting := waiting_line(store.root, plan.study.name):
        print(waiting, file=sys.stderr)


def _say_fall_back(plan: Plan) -> None:
    """What `run` says when it falls back, for the commands that only tell of it."""
    if plan.fell_back:
        print(
            "warning: mnist could not be had: these are runs on the embedded mnist_5k; `normbench run` tries the "
            "download again",
            file=sys.stderr,
        )


def _run(options: argparse.Namespace) -> int:
    use_data_dir(options)
    return train_study(chosen_study(options), open_store(options.runs), options.workers)


def train_study(study: Study, store: Store, workers: int | None) -> int:
    """Trains the runs of a study that have no result yet; returns the exit status."""
    from normbench.cli.looks import asked
    from normbench.store import make_folder
    from normbench.study import make_plan

    make_folder(store.root)
    plan = make_plan(study, fallback=falls_back(study))
    store.record(study.name, plan.ids, {run.id: run.cell for run in plan.runs})
    _say_warnings(plan, store)
    for run_id in store.broken(plan.ids):
        print(store.folder(run_id).set_aside(), file=sys.stderr)
    while True:
        ask = asked(plan, store)
        if not ask.runs:
            print(f"{study.name}: {ask.told}", file=sys.stderr)
            return 0
        failed = _train(plan, store, ask, workers)
        if failed or study.looks is None:
            return failed


def _train(plan: Plan, store: Store, ask: Ask, workers_asked: int | None) -> int:
    """Trains the runs that are asked for; returns the exit status."""
    from normbench.cli.measured import measured, time_told
    from normbench.launch import launcher
    from normbench.launch.progress import Display
    from normbench.study import describe
    from normbench.tracking.mode import settled

    left, name = ask.runs, plan.study.name
    refuse_missing_devices(run.config for run in left)
    tasks, launch = tasks_of(left, store), launcher("local", workers=workers_asked)
    workers = launch.at_once(tasks)
    speed = measured(plan, store, left)
    told = f"{ask.told}{len(left)} of {number(ask.count, 'run')} to train: {time_told(left, speed, workers)}"
    print(f"{name}: {told}", file=sys.stderr)
    try:
        with settled(plan.study.base.logger), Display(left, seconds=speed.seconds) as display:
            launch.launch(tasks, display)
    except (KeyboardInterrupt, Stopped) as stop:
        done = len(store.finished(plan.ids))
        kind = Terminated if isinstance(stop, Terminated) else Stopped
        raise kind(
            f"{done} of {ask.count} runs are done; the same command continues, unfinished runs from their last "
            "checkpoint"
        ) from None
    for run, line in display.failed:
        print(f"failed: {describe(run.cell)}, seed {run.seed}: {line} ({store.folder(run.id).path})", file=sys.stderr)
    if display.failed:
        return 1
    missing = len(left) - len(store.finished(run.id for run in left))
    if missing:
        raise NormbenchError(f"{missing} of {ask.count} runs have no result: run the same command again")
    return 0


def falls_back(study: Study) -> bool:
    """Makes the data available, and tells whether mnist is replaced by the embedded digits.

    A download, or the fall-back, is decided once and before any worker starts.
    """
    from normbench.data import ensure
    from normbench.study import make_plan

    fell_back = False
    wanted = {run.config.data.name: run.config.data for run in make_plan(study, fallback=False).runs}
    for name, data in wanted.items():
        fell_back |= ensure(data) != name
    return fell_back


def _status(options: argparse.Namespace) -> int:
    from normbench.cli.looks import now_asked
    from normbench.study import describe, fullest, possible_plans

    store = open_store(options.runs)
    study = chosen_study(options)
    plans = possible_plans(study)
    done = store.finished([run_id for plan in plans for run_id in plan.ids])
    plan = fullest(plans, done, store.ids_of(study.name))
    _say_fall_back(plan)
    if options.live:
        from normbench.cli.live import watch

        watch(dataclasses.replace(plan, runs=now_asked(plan, store)[0]), store)
        return 0
    runs, looks = now_asked(plan, store)
    states = store.states([run.id for run in runs])
    broken = store.broken(plan.ids)
    for run in runs:
        state = states[run.id]
        if state not in {"done", "waiting"}:
            why = {"failed": store.folder(run.id).error(), "broken": broken.get(run.id)}.get(state)
            told = f": {why}" if why else ""
            print(f"  {state:<11} {run.id}  {describe(run.cell)}, seed {run.seed}{told}")
    for cell, reason in plan.skipped:
        print(f"  skipped     {describe(cell)}: {reason}")
    _say_warnings(plan, store)
    counts = [(sum(state == name for state in states.values()), name) for name in ORDER]
    told = ", ".join(f"{count} {name}" for count, name in counts if count)
    print(f"{plan.study.name}: {looks}{told}, {number(len(plan.skipped), 'cell')} skipped")
    return 0
