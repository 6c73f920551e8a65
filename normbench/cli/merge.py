"""`normbench merge`: run folders of several machines become one."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from normbench.cli.options import folder


def add_commands(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Adds the command to the parser."""
    sub = add("merge", _merge, "join the run folders of other machines to those here; the others are not changed")
    sub.add_argument("folders", nargs="+", type=folder, metavar="FOLDER", help="a runs/ folder of another machine")
    sub.add_argument("--runs", type=folder, default=Path("runs"), help="folder to join them to (default: runs)")


def _merge(options: argparse.Namespace) -> int:
    from normbench.errors import UsageError
    from normbench.store import open_store
    from normbench.store.merge import BAD, merged, no_store
    from normbench.store.move import waiting_line

    for path in options.folders:
        if path.resolve() == options.runs.resolve():
            raise UsageError(f"{path} is the folder to join others to: name others, or another --runs")
        if line := waiting_line(path):
            print(line, file=sys.stderr)
        if error := no_store(path):
            raise error
    store, counts = open_store(options.runs), Counter[str]()
    for path in options.folders:
        for one in merged(store, open_store(path)):
            counts[one.outcome] += 1
            if one.outcome in BAD:
                print(one, file=sys.stderr)
    print(", ".join(f"{count} {outcome}" for outcome, count in counts.items()) + f": {options.runs}")
    return 1 if any(counts[outcome] for outcome in BAD) else 0
