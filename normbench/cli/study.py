"""`normbench plan` and `status`: a study's runs before, while and after they are trained."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from normbench.cli.launching import add_launching, chosen_launcher, use_data_dir
from normbench.cli.options import folder, number, positive
from normbench.store import Store, open_store

if TYPE_CHECKING:
    from normbench.study import Plan, Study

RUNS = Path("runs")
ORDER = ("done", "running", "failed", "interrupted", "broken", "waiting")


def add_commands(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Adds the commands to the parser."""
    plan = add("plan", _plan, "print the runs of a study, what is skipped, done, and left, without training")
    status = add("status", _status, "tell which runs are done, running, failed or waiting")
    status.add_argument("--live", action="store_true", help="show the curves of running runs, until all are done")
    for sub in (plan, status):
        add_study(sub)
    add_launching(plan)


def add_study(sub: argparse.ArgumentParser, optional: str = "") -> None:
    """Adds what names a study, or a smaller one made from it; `optional` says what a command does without one."""
    names = "a study file, or the name of one in experiments/"
    if optional:
        sub.add_argument("study", nargs="?", help=f"{names}; {optional}")
    else:
        sub.add_argument("study", help=names)
    sub.add_argument("--runs", type=folder, default=RUNS, help="folder of all run folders (default: runs)")
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


def read_store(options: argparse.Namespace) -> Store:
    """The store of a command that reads runs alone. A folder that was named and is not there is said: a slip, often."""
    say_missing(options.runs)
    return open_store(options.runs)


def say_missing(runs: Path) -> None:
    """Warns of a folder of runs that was named and is not there."""
    if runs != RUNS and not runs.is_dir():
        print(f"warning: --runs: there is no folder {runs}: no run of it is known", file=sys.stderr)


def _plan(options: argparse.Namespace) -> int:
    from normbench.cli.looks import look_lines
    from normbench.cli.measured import measured, time_told
    from normbench.launch.study import tasks_of
    from normbench.study import describe, iter_pending, next_plan

    use_data_dir(options)
    study, store = chosen_study(options), open_store(options.runs)
    chosen = chosen_launcher(options, study)
    plan = next_plan(study, store.ids_of(study.name))
    done = store.finished(plan.ids)
    print(f"{study.name}: {study.question}")
    for run in plan.runs:
        print(f"  {run.id}  {'done' if run.id in done else 'to do'}  {describe(run.cell)}, seed {run.seed}")
    for cell, reason in plan.skipped:
        print(f"  skipped           {describe(cell)}: {reason}")
    _say_fall_back(plan)
    say_warnings(plan, store)
    left = list(iter_pending(plan, done))
    workers = chosen.build().at_once(tasks_of(left or plan.runs, store))
    told = f": {time_told(left, measured(plan, store, left), workers)}" if left else ""
    again = len(plan.twins) // len(study.seeds)
    same = f" that stand for {number(again, 'further cell')} too" if again else ""
    print(
        f"{number(len(plan.runs), 'run')} ({number(len(plan.runs) // len(study.seeds), 'cell')}, "
        f"{number(len(study.seeds), 'seed')}){same}, {number(len(plan.skipped), 'cell')} skipped, "
        f"{number(len(plan.runs) - len(left), 'run')} done, {len(left)} to do{told}"
    )
    if str(chosen) != "local":
        print(f"launcher {chosen}")
    for line in look_lines(plan, store):
        print(line)
    return 0


def say_warnings(plan: Plan, store: Store) -> None:
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


def _status(options: argparse.Namespace) -> int:
    from normbench.cli.looks import now_asked
    from normbench.study import describe, stored_plan

    store = open_store(options.runs)
    plan = stored_plan(chosen_study(options), store)
    say_missing(options.runs)  # after what may be wrong with the study
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
    say_warnings(plan, store)
    counts = [(sum(state == name for state in states.values()), name) for name in ORDER]
    told = ", ".join(f"{count} {name}" for count, name in counts if count)
    print(f"{plan.study.name}: {looks}{told}, {number(len(plan.skipped), 'cell')} skipped")
    return 0
