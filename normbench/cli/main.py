"""The command line. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from normbench import __version__, environ
from normbench.errors import NormbenchError
from normbench.output import tolerate_encodings
from normbench.stops import Stopped, say_stopped

Command = Callable[[argparse.Namespace], int]

# Packages whose name to install is not the one to import.
INSTALLED_AS = {"vl_convert": "vl-convert-python", "wandb_workspaces": "wandb-workspaces"}

EPILOG = """a study is a YAML file, or the name of one in experiments/
exit status: 0 all that was asked for is there, 1 a run or a file failed, 2 the request was wrong,
             130 stopped by Ctrl-C, 143 by SIGTERM, 129 by SIGHUP (the terminal is closed)"""


def run_command(argv: Sequence[str]) -> int:
    """Runs a command line and returns its exit status. Errors a user can mend are one line on stderr."""
    debug = "--debug" in argv
    tolerate_encodings()
    warnings.showwarning = _one_line
    try:
        # Lightning, torch and wandb read variables that schedulers and shells leave behind when they are imported.
        with environ.cleaned(keep=environ.LAUNCH):
            try:
                return _status(argv)
            finally:
                sys.stdout.flush()  # a full disk is told here, not at Python's own end
    except (KeyboardInterrupt, Stopped) as stop:
        return say_stopped(stop)
    except NormbenchError as error:
        if debug:
            raise
        print(f"normbench: error: {error}", file=sys.stderr)
        return error.exit_status
    except Exception as error:
        if debug:
            raise
        print(f"normbench: error: {_unforeseen(error)}", file=sys.stderr)
        return 1


def _status(argv: Sequence[str]) -> int:
    if argv and argv[0] == "train":
        from normbench.cli.train import train

        return train(argv[1:])
    options = _parser().parse_args(argv)
    command: Command = options.command
    return command(options)


def _one_line(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, file: Any = None, line: Any = None
) -> None:
    """A warning as a person reads it: what, not where in the code."""
    print(f"warning: {' '.join(str(message).split())}", file=sys.stderr)


def _unforeseen(error: Exception) -> str:
    """One line for an error that is not one of normbench's own; a part that not every command needs is named."""
    if isinstance(error, ModuleNotFoundError) and error.name and not error.name.startswith("normbench"):
        package = error.name.partition(".")[0]
        package = INSTALLED_AS.get(package, package)
        return f"the package {package} is not installed: pip install {package}"
    return f"{type(error).__name__}: {' '.join(str(error).split())} (--debug shows where)"


def _parser() -> argparse.ArgumentParser:
    from normbench.cli import (
        catalogue,
        cost,
        evaluate,
        export,
        findings,
        inspect,
        largest,
        merge,
        migrate,
        referee,
        report,
        run,
        study,
        tune,
    )
    from normbench.tracking.commands import add_wandb_commands

    parser = argparse.ArgumentParser(
        prog="normbench",
        description="What does a normalization do to training, compared with the others, and how sure can one be?",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"normbench {__version__}")
    commands = parser.add_subparsers(required=True, metavar="command")

    def add(name: str, command: Command, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(command=command)
        sub.add_argument("--debug", action="store_true", help="show tracebacks")
        return sub

    add("train", lambda options: 0, "train one run; see normbench train --help")
    modules = (study, run, tune, largest, report, referee, cost, evaluate, export, inspect, catalogue)
    for module in (*modules, findings, merge, migrate):
        module.add_commands(add)
    add_wandb_commands(commands.add_parser("wandb", help="Weights & Biases: push runs, pull runs, make a report"))
    return parser
