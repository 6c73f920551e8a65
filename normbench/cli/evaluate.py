"""`normbench evaluate`: a trained run, scored anew from its kept weights."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from normbench.cli.options import folder
from normbench.errors import NormbenchError, UsageError

if TYPE_CHECKING:
    from normbench.store import RunFolder


def add_commands(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Adds the command to the parser."""
    sub = add("evaluate", _evaluate, "score a run anew on its test images, from the weights that trainer.keep kept")
    sub.add_argument("run", type=folder, help="the folder of a run")
    sub.add_argument(
        "--corruption",
        action="append",
        default=[],
        metavar="KIND[=STRENGTH]",
        help="test on changed images too: contrast, brightness, noise, blur or shift; may be given several times",
    )


def _evaluate(options: argparse.Namespace) -> int:
    from normbench.train import evaluated

    run = trained_run(options.run)
    for name, value in evaluated(run, options.corruption).items():
        print(f"{name:>24} {value:.5g}")
    return 0


def trained_run(path: Path) -> RunFolder:
    """The run folder at `path`. Raises UsageError where there is none, NormbenchError where it kept no weights."""
    from normbench.store import RunFolder

    run = RunFolder(path)
    if not run.path.is_dir():
        raise UsageError(f"no run folder at {run.path}: check the path")
    if not run.weights_path.is_file():
        raise NormbenchError(
            f"{run.path} has no weights: train it with --trainer.keep last (or best), which keeps them there"
        )
    return run
