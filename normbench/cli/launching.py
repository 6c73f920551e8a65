"""Options that say where runs run, for the commands that plan or train."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from normbench.cli.options import folder, positive
from normbench.errors import UsageError

if TYPE_CHECKING:
    from normbench.launch.options import Chosen
    from normbench.study import Study


def add_launching(sub: argparse.ArgumentParser) -> None:
    """Adds --launcher and what belongs to it, and --data-dir."""
    where = sub.add_argument_group("where runs run; no part of what they are")
    where.add_argument("--launcher", metavar="NAME", help="local (default), slurm or ray")
    where.add_argument(
        "--workers", type=positive, help="runs (with slurm: jobs) at once (default: cores / threads of a run, or GPUs)"
    )
    where.add_argument(
        "--launch", action="append", default=[], metavar="OPTION=VALUE", help="an option of the launcher"
    )
    where.add_argument(
        "--machine", type=folder, help="YAML file with launcher and launch options (also: NORMBENCH_MACHINE)"
    )
    add_data_dir(sub)


def add_data_dir(sub: argparse.ArgumentParser) -> None:
    """Adds --data-dir."""
    sub.add_argument("--data-dir", type=folder, help="folder with MNIST/raw/*-ubyte (also: NORMBENCH_DATA_DIR)")


def use_data_dir(options: argparse.Namespace) -> None:
    """Makes --data-dir hold for this process and its children."""
    if options.data_dir:
        os.environ["NORMBENCH_DATA_DIR"] = str(options.data_dir.resolve())


def chosen_launcher(options: argparse.Namespace, study: Study) -> Chosen:
    """The launcher that a command line, the machine's file and the study ask for. Raises UsageError."""
    from normbench.launch.options import chosen
    from normbench.spec import parse_yaml

    given = {}
    for text in options.launch:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--launch '{text}': write option=value, for example --launch partition=main")
        given[name] = parse_yaml(value, f"--launch {name}")
    if options.workers:
        given["workers"] = options.workers
    machine: Path | None = options.machine
    return chosen(study, options.launcher, given, machine)
