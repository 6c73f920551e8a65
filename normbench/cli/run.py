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
    left = _left(study, options)
    if not left.runs:
        return 0
    if chosen.name == "local":  # others have machines that are not this one
        refuse_missing_devices(run.config for run in left.runs)
    where = "" if chosen.name == "local" else f", launcher {chosen}"
    return _trained(left, chosen.build(), where)


def _work(options: argparse.Namespace) -> int:
    from normbench.launch.local import LocalLauncher

    left = _left(chosen_study(options), options)
    if not left.runs:
        return 0
    refuse_missing_devices(run.config for run in left.runs)
    return _trained(left, LocalLauncher(workers=1, wait=not options.leave), leave=options.leave)


def _left(study: Study, options: argparse.Namespace) -> Left:
    from normbench.launch.study import left_of
    from normbench.store import open_store

    use_data_dir(options)
    left = left_of(study, open_store(options.runs))
    say_warnings(left.plan, left.store)
    if not left.runs:
        print(f"{left.plan.study.name}: all {len(left.plan.runs)} runs are done", file=sys.stderr)
    return left


def _trained(left: Left, launcher: Launcher, where: str = "", leave: bool = False) -> int:
    from normbench.cli.measured import measured, time_told
    from normbench.launch.study import train_left
    from normbench.study import describe

    total, speed = len(left.plan.runs), measured(left.plan, left.store, left.runs)
    told = time_told(left.runs, speed, launcher.at_once(left.tasks))
    print(
        f"{left.plan.study.name}: {len(left.runs)} of {number(total, 'run')} to train: {told}{where}", file=sys.stderr
    )
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
            print(f"{len(elsewhere)} of {total} runs are being trained by others", file=sys.stderr)
        missing = [run for run in missing if states[run.id] not in {"running", "done"}]
    if missing:
        raise NormbenchError(f"{len(missing)} of {total} runs have no result: run the same command again")
    return 0
