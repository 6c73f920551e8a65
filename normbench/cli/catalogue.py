"""`normbench norms`, `models`, `datasets`, `probes`: what there is, its options, and where it is defined."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from normbench.cli.measurements import add_measurements, measured_or
from normbench.cli.options import positive
from normbench.spec.registry import DATASETS, MODELS, NORMS, OPTIMIZERS, PROBES, REQUIRED, Entry, Registry
from normbench.spec.values import shown_value

if TYPE_CHECKING:
    from normbench.norms import Facts


def add_commands(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Adds the commands to the parser."""
    norms = add("norms", _norms, "print the table of norms, with what is measured of each")
    norms.add_argument("--channels", type=positive, default=64, help="channels C of the input (default: 64)")
    lists = [norms]
    for name, registry in (
        ("models", MODELS),
        ("datasets", DATASETS),
        ("optimizers", OPTIMIZERS),
        ("probes", PROBES),
    ):
        also = "; with a study, write what they found" if registry is PROBES else ""
        show = _lister(registry)
        text = f"print the {name} that a configuration can name, with their options{also}"
        sub = add(name, measured_or(show) if registry is PROBES else show, text)
        if registry is PROBES:
            add_measurements(sub)
        lists.append(sub)
    for sub in lists:
        sub.add_argument(
            "--plugins", action="append", default=[], metavar="FILE", help="a Python file that registers more"
        )


def _lister(registry: Registry) -> Callable[[argparse.Namespace], int]:
    def show(options: argparse.Namespace) -> int:
        from normbench.spec import load_plugins

        load_plugins(tuple(options.plugins))
        rows = [[name, entry.summary, _options(entry), _defined(entry)] for name, entry in _entries(registry)]
        _table(registry.kind + "s", [registry.kind, "what it is", "options", "defined in"], rows)
        return 0

    return show


def _norms(options: argparse.Namespace) -> int:
    from normbench.errors import NormbenchError
    from normbench.norms import facts
    from normbench.spec import load_plugins

    load_plugins(tuple(options.plugins))
    rows = []
    for name, entry in _entries(NORMS):
        try:
            found = facts(name)
            measured = [
                _shared(found),
                str(found.parameters(options.channels)),
                "yes" if found.same_in_eval else "no",
                "yes" if found.cancels_bias(options.channels) else "no",
            ]
        except NormbenchError as error:
            measured = [str(error), "", "", ""]
        rows.append([name, *measured, _options(entry), _defined(entry)])
    headings = ["norm", "one statistic is over", "parameters", "same in evaluation", "cancels a bias", "options"]
    _table(f"norms, for an input (N, {options.channels}, H, W)", [*headings, "defined in"], rows)
    return 0


def _shared(facts: Facts) -> str:
    """What one statistic is taken over: `(N, H, W)`, `(16 of N, H, W)`, `(C/8, H, W)`."""
    if not facts.has_statistics:
        return "nothing"
    words = []
    for letter, extent in (("N", facts.images), ("C", facts.channels), ("H, W", facts.positions)):
        many = {"all": letter, "fixed": f"{extent.number} of {letter}", "parts": f"{letter}/{extent.number}"}
        words += [many[extent.rule]] if extent.rule != "one" else []
    return f"({', '.join(words)})" + (", all devices" if facts.devices else "")


def _entries(registry: Registry) -> list[tuple[str, Entry]]:
    return [(name, registry.get(name)) for name in registry]


def _options(entry: Entry) -> str:
    shown = {
        option.name: "required" if option.default is REQUIRED else shown_value(option.default)
        for option in entry.options.values()
    }
    return "\n".join(f"{name}={value}" for name, value in shown.items())


def _defined(entry: Entry) -> str:
    return Path(entry.source).name


def _table(title: str, headings: list[str], rows: list[list[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    unicode = (sys.stdout.encoding or "").lower().startswith("utf")
    console = Console(width=None if sys.stdout.isatty() else 140, markup=False)
    columns = [[heading, *cells] for heading, *cells in zip(headings, *rows, strict=True)]
    words = [max(len(word) for cell in column for word in cell.split()) for column in columns]
    while len(words) > 2 and sum(words) + 3 * len(words) + 1 > console.width:
        words.pop()  # on a narrow terminal words stay whole, and the last columns are left out
    table = Table(title=title, show_lines=True, box=box.HEAVY_HEAD if unicode else box.ASCII)
    for column, word in zip(columns, words, strict=False):
        lines = [line for cell in column for line in cell.splitlines()]
        table.add_column(column[0], overflow="fold", no_wrap=max(map(len, lines)) == word)
    for row in rows:
        table.add_row(*row[: len(words)])
    console.print(table)
