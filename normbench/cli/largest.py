"""`normbench largest-rate STUDY`: the largest learning rate that still trains, of each cell, found by training."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from normbench.cli.launching import add_launching, use_data_dir
from normbench.cli.options import folder, number, positive, table_file
from normbench.cli.run import train_study
from normbench.cli.study import add_study, chosen_study

if TYPE_CHECKING:
    from normbench.study import Study
    from normbench.study.largest import Search


def add_commands(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Adds the command to the parser."""
    sub = add("largest-rate", _largest, "find the largest learning rate at which all seeds of a cell still train")
    add_study(sub)
    sub.add_argument(
        "--at-least", type=_share, default=0.9, metavar="SHARE", help="test accuracy of what trains (default: 0.9)"
    )
    sub.add_argument(
        "--factor", type=_factor, default=2.0, help="between rates, where no axis lists optimizer.lr (default: 2)"
    )
    sub.add_argument("--most", type=positive, default=12, help="factors up or down from the study's rate (default: 12)")
    sub.add_argument("--to", type=folder, metavar="FILE", help="CSV (default: reports/STUDY/largest_rate.csv)")
    add_launching(sub)


def _share(text: str) -> float:
    return _number(text, 0, 1, "an accuracy above 0 and below 1, such as 0.9")


def _factor(text: str) -> float:
    return _number(text, 1, 1000, "a number above 1, such as 2")


def _number(text: str, low: float, high: float, wanted: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = low
    if not low < value < high:
        raise argparse.ArgumentTypeError(f"'{text}' is not {wanted}")
    return value


def _largest(options: argparse.Namespace) -> int:
    from normbench.store.files import make_folder
    from normbench.study.largest import searches

    use_data_dir(options)
    study = chosen_study(options)
    target = table_file(options.to, study.name, "largest_rate.csv", [".csv"])
    found = searches(study, options.factor, options.most)
    while any(search.next is not None for search in found):
        if status := _tried(study, found, options):
            return status
    if options.to is None:
        make_folder(target.parent)
    _write(study, found, options.at_least, target)
    _print(found, len(study.seeds), options.at_least)
    print(target)
    return 0


def _tried(study: Study, found: Sequence[Search], options: argparse.Namespace) -> int:
    """Trains what the searches ask for next and notes what came of it; the exit status where that failed."""
    from normbench.store import open_store
    from normbench.study import iter_pending, next_plan
    from normbench.study.largest import judge, rate_axis, trying

    asked, store = trying(study, found), open_store(options.runs)
    plan = next_plan(asked, store.ids_of(asked.name))
    if any(iter_pending(plan, store.finished(plan.ids))):
        if status := train_study(asked, options):
            return status
        store = open_store(options.runs)
        plan = next_plan(asked, store.ids_of(asked.name))
    for search in found:
        judge(search, plan.runs, store, rate_axis(study), options.at_least)
    return 0


def _write(study: Study, found: Sequence[Search], at_least: float, target: Path) -> None:
    """A row a cell: its labels, the largest rate that trains, the smallest that does not, and how they were found."""
    import pandas as pd

    from normbench.report.tables.csv import csv_text
    from normbench.store import axis_columns
    from normbench.store.files import write_atomically

    columns = axis_columns(list(study.axes))
    rows = [
        {columns[name]: label for name, label in search.cell.items()}
        | {"largest_rate": search.largest, "fails_at": search.fails, "state": search.state}
        | {"rates_tried": " ".join(f"{search.rate(place):g}" for place in sorted(search.trains))}
        | {"seeds": len(study.seeds), "at_least": at_least}
        for search in found
    ]
    write_atomically(target, csv_text(pd.DataFrame(rows)))


def _print(found: Sequence[Search], seeds: int, at_least: float) -> None:
    from normbench.study import describe

    print(f"largest learning rate at which {number(seeds, 'seed')} reach a test accuracy of {at_least:g}")
    names = [describe(search.cell) or "the study" for search in found]
    for name, search in zip(names, found, strict=True):
        told = {
            "bracketed": f"{search.largest:g}    {search.fails:g} does not train",
            "all train": f"{search.largest:g} or more: the last that was tried",
            "none trains": f"below {search.fails:g}, the last that was tried",
        }[search.state]
        print(f"  {name:<{max(map(len, names))}}  {told}")
