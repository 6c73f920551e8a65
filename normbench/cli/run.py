"""`normbench run` and `work`: a study's runs are trained, by a launcher or one after the other."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from normbench.cli.devices import refuse_missing_devices
from normbench.cli.launching import add_data_dir, add_launching, chosen_launcher, use_data_dir
from normbench.cli.options import number
from normbench.cli.study import add_study, chosen_study, say_warnings
from normbench.errors import NormbenchError

if TYPE_CHECKING:
    from normbench.launch import Launcher
    from normbench.launch.study import Left
    from normbench.study import Study


def add_commands(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Adds the commands to the parser."""
    run = add("run", _run, "train the runs of a study that have no result yet")
    work = add("work", _work, "be one worker of many: take the next run that nobody trains, train it, and so on")
    for sub in (run, work):
        add_study(sub)
    add_launching(run)
    work.add_argument(
        "--leave", action="store_true", help="end when no run is left to take, without waiting for those of others"
    )
    add_data_dir(work)


def _run(options: argparse.Namespace) -> int:
    study = chosen_study(options)
    chosen = chosen_launcher(options, study)
    where = "" if chosen.name == "local" else f", launcher {chosen}"
    # Other launchers have machines that are not this one.
    return _train(study, options, chosen.build(), here=chosen.name == "local", where=where)


def _work(options: argparse.Namespace) -> int:
    from normbench.launch.local import LocalLauncher

    return _train(chosen_study(options), options, LocalLauncher(workers=1, wait=not options.leave), leave=options.leave)


def _train(
    study: Study,
    options: argparse.Namespace,
    launcher: Launcher,
    here: bool = True,
    where: str = "",
    leave: bool = False,
) -> int:
    """Trains what is asked for, look after look where the study has some; returns the exit status."""
    from normbench.cli.looks import asked
    from normbench.launch.study import Left, prepared
    from normbench.store import open_store

    use_data_dir(options)
    store = open_store(options.runs)
    plan = prepared(study, store)
    say_warnings(plan, store)
    while True:
        ask = asked(plan, store)
        if not ask.runs:
            print(f"{study.name}: {ask.told}", file=sys.stderr)
            return 0
        if here:
            refuse_missing_devices(run.config for run in ask.runs)
        left = Left(plan, ask.runs, store, ask.count)
        failed = _trained(left, launcher, ask.told, where, leave)
        if failed or study.looks is None or left.missing():
            return failed


def _trained(left: Left, launcher: Launcher, before: str, where: str, leave: bool) -> int:
    from normbench.cli.measured import measured, time_told
    from normbench.launch.study import train_left
    from normbench.study import describe

    name, speed = left.plan.study.name, measured(left.plan, left.store, left.runs)
    told = time_told(left.runs, speed, launcher.at_once(left.tasks))
    print(f"{name}: {before}{len(left.runs)} of {number(left.count, 'run')} to train: {told}{where}", file=sys.stderr)
    failed = train_left(left, launcher, speed.seconds)
    for run, line in failed:
        place = left.store.folder(run.id).path
        print(f"failed: {describe(run.cell)}, seed {run.seed}: {line} ({place})", file=sys.stderr)
    if failed:
        return 1
    missing = left.missing()
    if leave:
        states = left.store.states([run.id for run in missing])
        elsewhere = [run for run in missing if states[run.id] == "running"]
        if elsewhere:
            print(f"{len(elsewhere)} of {left.count} runs are being trained by others", file=sys.stderr)
        missing = [run for run in missing if states[run.id] not in {"running", "done"}]
    if missing:
        raise NormbenchError(f"{len(missing)} of {left.count} runs have no result: run the same command again")
    return 0
