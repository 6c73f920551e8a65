"""`normbench findings`: published claims and their verdicts; `run` tests them, `report` writes the table."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from normbench.cli.launching import add_launching, use_data_dir
from normbench.cli.options import folder, number
from normbench.cli.run import train_study
from normbench.errors import NormbenchError, UsageError
from normbench.machine import cores
from normbench.store import open_store

if TYPE_CHECKING:
    from normbench.findings import Finding, Outcome
    from normbench.store import Store


def add_commands(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Adds the command to the parser."""
    findings = add("findings", _list, "published claims on normalization: list them, run them, report what came out")
    findings.add_argument("--tier", type=int, choices=range(4), help="list this tier alone")
    actions = findings.add_subparsers(metavar="action")
    run = actions.add_parser("run", help="put claims to the test and store what is measured")
    run.set_defaults(command=_run)
    run.add_argument("ids", nargs="*", metavar="ID", help="claims, such as A7 C4")
    run.add_argument("--tier", type=int, choices=range(4), help="all claims of this tier (0: computations of seconds)")
    run.add_argument("--budget", type=_duration, help="claims without a verdict, the cheapest first, within this time")
    add_launching(run)
    report = actions.add_parser("report", help="write reports/findings/ from what is stored")
    report.set_defaults(command=_report)
    for sub in (findings, run, report):
        sub.add_argument("--reports", type=folder, default=Path("reports"), help="folder of all reports")
        sub.add_argument("--runs", type=folder, default=Path("runs"), help="folder of all run folders (default: runs)")
    for sub in (run, report):
        sub.add_argument("--debug", action="store_true", help="show tracebacks")


def _duration(text: str) -> float:
    from normbench.study.looks import seconds_of

    try:
        return seconds_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"'{text}': {error}") from None


def _list(options: argparse.Namespace) -> int:
    from normbench.findings import chosen_findings, summary_line
    from normbench.findings.report import Row
    from normbench.findings.results import read_result
    from normbench.findings.studies import seconds_left
    from normbench.launch.progress import duration

    store = open_store(options.runs)
    for finding in chosen_findings([], options.tier):
        row = Row(finding, read_result(finding, options.reports))
        cost = duration(seconds_left(finding, store)) if row.verdict == "not run" else ""
        print(f"{finding.id:<4} tier {finding.tier}  {row.verdict:<12} {cost:>9}  {finding.claim}")
    print(f"{summary_line(options.reports)}; times are of one core")
    return 0


def _run(options: argparse.Namespace) -> int:
    from normbench.findings import chosen_findings
    from normbench.findings.report import Row
    from normbench.findings.results import read_result, write_result

    if not options.ids and options.tier is None and options.budget is None:
        raise UsageError("findings run: name claims (`normbench findings` lists them), or give --tier or --budget")
    use_data_dir(options)
    store, status, seen = open_store(options.runs), 0, 0
    chosen = chosen_findings(options.ids, options.tier)
    if options.budget is not None:
        chosen = _within(options.budget, chosen, store, options)
    for finding in chosen:
        try:
            outcome = _outcome(finding, store, options)
        except NormbenchError as error:  # of this claim: the others can be put to the test all the same
            outcome = None
            print(f"normbench: error: {finding.id}: {error}", file=sys.stderr)
        if outcome is None:
            status = 1
            continue
        write_result(finding, outcome, options.reports)
        row = Row(finding, read_result(finding, options.reports))
        print(f"{finding.id:<4} {row.verdict_text}: {row.measured}", flush=True)
        seen += 1
    print(f"{number(seen, 'claim')} put to the test; normbench findings report writes the table", file=sys.stderr)
    return status


def _outcome(finding: Finding, store: Store, options: argparse.Namespace) -> Outcome | None:
    """What the experiment gives; None where runs of its study failed, which has been said."""
    from normbench.findings import Computation
    from normbench.findings.evidence import study_outcome
    from normbench.findings.studies import study_path
    from normbench.study import load_study

    if isinstance(finding.experiment, Computation):
        return finding.experiment.measure()
    if train_study(load_study(study_path(finding.experiment.study)), options):
        return None
    return study_outcome(finding, store)


def _within(budget: float, findings: list[Finding], store: Store, options: argparse.Namespace) -> list[Finding]:
    """The findings without a verdict that fit into so many seconds, the cheapest first: most verdicts for the time."""
    from normbench.findings.results import read_result, verdict_of
    from normbench.findings.studies import seconds_left

    open_ones = [f for f in findings if verdict_of(f, read_result(f, options.reports)) is None]
    workers = options.workers or cores()
    costs = sorted((seconds_left(finding, store) / workers, finding.id, finding) for finding in open_ones)
    chosen, spent = [], 0.0
    for seconds, _, finding in costs:
        if spent + seconds <= budget:
            chosen.append(finding)
            spent += seconds
    return chosen


def _report(options: argparse.Namespace) -> int:
    from normbench.findings import summary_line
    from normbench.findings.report import write_report

    for path in write_report(options.reports):
        print(path)
    print(summary_line(options.reports), file=sys.stderr)  # as README.md and docs/findings.md have it
    return 0
