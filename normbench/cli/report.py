"""`normbench report`, `tables`, `plots` and `compare`: what a study's runs say."""

from __future__ import annotations

import argparse
import gc
from collections.abc import Callable
from pathlib import Path

from normbench.cli.options import folder
from normbench.cli.study import add_study, chosen_study, read_store
from normbench.errors import UsageError


def add_commands(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Adds the commands to the parser."""
    report = add("report", _report, "write tables, figures and report.html of a study, finished or not")
    report.add_argument("--watch", action="store_true", help="write them again while the study runs, until it is done")
    report.add_argument(
        "--maps",
        type=int,
        metavar="CLASS",
        help="show feature maps of the first test image of this class, where runs kept their weights (trainer.keep)",
    )
    tables = add("tables", _tables, "write the tables alone: CSV, Markdown, LaTeX")
    plots = add("plots", _plots, "write the figures alone: SVG, PNG")
    for sub in (report, tables, plots):
        add_study(sub)
    compare = add("compare", _compare, "reports of several studies, or of two versions of one, side by side")
    compare.add_argument("sides", nargs="+", metavar="REPORT", help="a study with a report, or a report folder")
    compare.add_argument("--allow", action="append", default=[], metavar="FIELD", help="a field that may differ")
    for sub in (report, tables, plots, compare):
        sub.add_argument(
            "--reports", type=folder, default=Path("reports"), help="folder of all reports (default: reports)"
        )


def _report(options: argparse.Namespace) -> int:
    if options.watch:
        from normbench.report import watch_report

        for told in watch_report(chosen_study(options), read_store(options), options.reports, maps_of=options.maps):
            print(told, flush=True)
        return 0
    return _write(options)


def _write(options: argparse.Namespace, *parts: str) -> int:
    """Writes the parts that are named, or all."""
    gc.set_threshold(100_000)  # of what is imported, and of a large study, nothing is garbage: to look is time lost
    from normbench.report import PARTS, write_report

    study, store, maps_of = chosen_study(options), read_store(options), getattr(options, "maps", None)
    for path in write_report(study, store, options.reports, parts or tuple(PARTS), maps_of):
        print(path)
    return 0


def _tables(options: argparse.Namespace) -> int:
    return _write(options, "tables")


def _plots(options: argparse.Namespace) -> int:
    return _write(options, "figures")


def _compare(options: argparse.Namespace) -> int:
    from normbench.report.compare import load_side, side_by_side
    from normbench.report.tables import markdown

    if len(options.sides) < 2:
        raise UsageError("compare: name two reports or more")
    print(markdown(side_by_side([load_side(name, options.reports) for name in options.sides], options.allow)))
    return 0
