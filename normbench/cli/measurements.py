"""`normbench probes`: with STUDY what its runs found, as one tidy file; with `--probe NAME` alone what it measures."""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Callable
from functools import partial

from normbench.cli.options import folder, number, table_file
from normbench.cli.study import add_study, chosen_study, read_store
from normbench.errors import NormbenchError, UsageError, unknown

SUFFIXES = (".csv", ".parquet")


def add_measurements(sub: argparse.ArgumentParser) -> None:
    """Adds the options to the command `probes`."""
    add_study(sub, optional="without one, the probes are listed")
    text = "this one alone; again for more; without a study: what each of its numbers is, and what it costs"
    sub.add_argument("--probe", action="append", default=[], metavar="NAME", help=text)
    sub.add_argument("--no-arrays", action="store_true", help="leave out the numbers of single units")
    sub.add_argument("--to", type=folder, metavar="FILE", help="CSV or Parquet (default: reports/STUDY/probes.csv)")


def measured_or(show: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    """The command: with a study its measurements, without one the list, or what is written of the named ones."""

    def command(options: argparse.Namespace) -> int:
        if options.study is not None:
            return _write(options)
        return _explain(options) if options.probe else show(options)

    return command


def _explain(options: argparse.Namespace) -> int:
    from normbench.spec import load_plugins
    from normbench.spec.registry import PROBES

    load_plugins(tuple(options.plugins))
    entries = [PROBES.get(name) for name in dict.fromkeys(options.probe)]
    texts = (inspect.getdoc(entry.build) or f"{entry.source} says nothing of it" for entry in entries)
    print("\n\n".join(f"{entry.name}: {text}" for entry, text in zip(entries, texts, strict=True)))
    return 0


def _write(options: argparse.Namespace) -> int:
    from normbench.report.measurements import measured, probes_of
    from normbench.report.tables.csv import csv_text
    from normbench.store.files import make_folder, replace_file, unwritable, write_atomically
    from normbench.study import stored_plan

    study, store = chosen_study(options), read_store(options)
    target = table_file(options.to, study.name, "probes.csv", SUFFIXES)
    plan = stored_plan(study, store)
    known = probes_of(plan)
    for name in options.probe:
        if name not in known:
            raise UsageError(f"--probe {unknown('probe of this study', name, known)}")
    if not known:
        raise UsageError(f"study {study.name} has no probes: name some, for example probes: [activations, gradients]")
    frame = measured(plan, store, options.probe or known, not options.no_arrays)
    if frame.empty:
        raise NormbenchError(f"no run of {study.name} has measured yet: train it by normbench run")
    if options.to is None:
        make_folder(target.parent)
    if target.suffix == ".csv":
        write_atomically(target, csv_text(frame))
    else:
        try:
            replace_file(target, partial(frame.to_parquet, index=False))
        except OSError as error:
            raise unwritable(target, error) from None
    done = store.finished(plan.ids)
    have = set(frame["run_id"])
    print(f"{target}: {len(frame):,} numbers of {number(len(have), 'run')}")
    if lack := [run_id for run_id in done if run_id not in have]:
        print(
            f"warning: {len(lack)} finished runs were trained without: probes are no part of a run's identity. Train "
            "them anew in another root: normbench run STUDY --runs OTHER",
            file=sys.stderr,
        )
    return 0
