"""`normbench migrate`: results of version 0.1 are moved to where this version looks for them."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from normbench.cli.options import folder


def add_commands(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Adds the command to the parser."""
    sub = add("migrate", _migrate, "move the run folders of version 0.1 (runs/<study>/<id>) to runs/<id>")
    sub.add_argument("--runs", type=folder, default=Path("runs"), help="folder of all run folders (default: runs)")


def _migrate(options: argparse.Namespace) -> int:
    from normbench.spec import from_dict, resolve, run_id, to_dict
    from normbench.store.move import moved

    def identified(tree: dict[str, object]) -> tuple[str, dict[str, object]]:
        config = resolve(from_dict(tree))
        return run_id(config), to_dict(config)

    count = left = 0
    for move in moved(options.runs, identified):
        print(move)
        count += move.moved
        left += not move.moved
    print(f"{count} run folders moved, {left} left where they are")
    return 0
