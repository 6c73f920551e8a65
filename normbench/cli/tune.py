"""`normbench tune`: the learning rates that a pilot study chooses, as a file that another study names."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from normbench.cli.options import folder, new_file
from normbench.cli.study import add_study, chosen_study, read_store
from normbench.errors import UsageError


def add_commands(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Adds the command to the parser."""
    tune = add("tune", _tune, "write the learning rates that a finished pilot study chooses on validation images")
    add_study(tune)
    tune.add_argument("--to", type=folder, required=True, metavar="FILE", help="the file, which ends in .yaml")


def _tune(options: argparse.Namespace) -> int:
    from normbench.report import gather
    from normbench.report.pilot import pilot_choice
    from normbench.spec import yaml_text
    from normbench.store.files import write_atomically

    if options.to.suffix not in {".yaml", ".yml"}:
        raise UsageError(f"--to {options.to}: a file of rates is YAML: let its name end in .yaml")
    new_file("--to", options.to)
    choice = pilot_choice(gather(chosen_study(options), read_store(options)))
    write_atomically(options.to, yaml_text(choice))
    print(f"{options.to}: rates of {len(choice['rates'])} cells, chosen by {choice['pilot']}")
    return 0
