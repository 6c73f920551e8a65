"""`normbench train`: one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from normbench.cli.arguments import help_text, parse_run
from normbench.cli.devices import refuse_missing_devices
from normbench.errors import NormbenchError
from normbench.output import takes_unicode
from normbench.spec import RunConfig, resolve, run_id, steps, to_dict, yaml_text
from normbench.spec.values import at_home
from normbench.stops import Stopped, with_advice


def train(argv: Sequence[str]) -> int:
    """Trains the run that a command line asks for, or continues it, and prints its result."""
    config, arguments = parse_run(argv)
    if arguments.help:
        print(help_text())
        return 0
    if arguments.print_config:
        print(yaml_text(to_dict(resolve(config)), takes_unicode()), end="")
        return 0
    from normbench.data import with_data_at_hand

    config = with_data_at_hand(config)
    refuse_missing_devices([config])
    path = (
        at_home(arguments.folder, "--folder")
        if arguments.folder
        else at_home(arguments.runs, "--runs") / run_id(config)
    )
    from rich.progress import Progress

    from normbench.launch import train_run
    from normbench.launch.progress import console_of
    from normbench.tracking.mode import settled

    console = console_of(stderr=True)
    bar = Progress(console=console, transient=True, disable=not console.is_terminal)
    task = bar.add_task("training", total=steps(config))
    # Before rich 15 a bar that is not shown ends with an empty line.
    with bar if console.is_terminal else nullcontext():
        try:
            result = train_run(
                config, path, lambda step: bar.update(task, completed=step), around=settled(config.logger)
            )
        except (KeyboardInterrupt, Stopped) as stop:
            raise with_advice(stop, "the same command continues from the last checkpoint") from None
    if result is None:
        raise NormbenchError(f"{path} is being trained by another process: wait for it")
    print_result(result, config, path)
    return 0


def print_result(result: Mapping[str, Any], config: RunConfig, folder: Path) -> None:
    """The metrics of a result, a line each."""
    if result["diverged_at_step"] is not None:
        print(f"diverged at step {result['diverged_at_step']} of {steps(config)}")
    for name, value in result["metrics"].items():
        if value is not None:
            print(f"{name:>24} {value:.5g}")
    print(f"{'folder':>24} {folder}")
