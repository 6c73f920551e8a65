"""`normbench wandb push|pull|report`. Imports nothing heavy until a command needs it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from normbench.tracking.push import Pushed


def add_wandb_commands(parser: argparse.ArgumentParser) -> None:
    """Adds push, pull and report to the parser of `normbench wandb`."""
    commands = parser.add_subparsers(required=True, metavar="push|pull|report")
    where = argparse.ArgumentParser(add_help=False)
    where.add_argument("--project", help="W&B project (default: that of the runs)")
    where.add_argument("--entity", help="W&B user or team (default: that of the runs, else the account's)")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--runs", type=Path, default=Path("runs"), help="folder of all run folders (default: runs)")
    common.add_argument("--debug", action="store_true", help="show tracebacks")

    text = "send the runs of a study, or what W&B lacks of them; sending twice changes nothing"
    push = commands.add_parser("push", help=text, description=text, parents=[where, common])
    push.add_argument("study", help="a study, or the name of a folder of --runs")
    push.set_defaults(command=_push)

    text = "write run folders for the finished runs of a study that were logged elsewhere"
    pull = commands.add_parser("pull", help=text, description=text, parents=[common])
    pull.add_argument("path", metavar="ENTITY/PROJECT", help="where the runs are at W&B")
    pull.add_argument("--study", required=True, metavar="NAME", help="the study, which is the W&B group")
    pull.set_defaults(command=_pull)

    text = "make the W&B report of a study, or update it; prints its link"
    report = commands.add_parser("report", help=text, description=text, parents=[where, common])
    report.add_argument("study", help="a study file, or the name of one in experiments/")
    report.add_argument("--reports", type=Path, default=Path("reports"), help="folder of all reports")
    report.add_argument("--dry-run", action="store_true", help="write the report's specification, without any network")
    report.set_defaults(command=_report)


def _study_folder(options: argparse.Namespace) -> Path:
    from normbench.study.study import load_study

    runs: Path = options.runs
    folder = runs / options.study
    return folder if folder.is_dir() else runs / load_study(options.study).name


def _push(options: argparse.Namespace) -> int:
    from normbench.tracking.push import push

    said = {"finished": "sent", "unfinished": "sent, without a result", "running": "left alone"}
    return _tell(push(_study_folder(options), options.project, options.entity), said)


def _pull(options: argparse.Namespace) -> int:
    from normbench.errors import UsageError
    from normbench.tracking.pull import pull

    if not options.study.replace("-", "_").isidentifier():
        raise UsageError(f"--study '{options.study}' is not the name of a study")
    said = {"finished": "written", "present": "here already", "unfinished": "left out", "running": "left out"}
    return _tell(pull(options.path, options.study, options.runs / options.study), said)


def _tell(pushed: Iterable[Pushed], said: dict[str, str]) -> int:
    """A line for each run, and the counts; 1 where a run failed."""
    counts: dict[str, int] = {}
    for run in pushed:
        word = said.get(run.state, "failed")
        counts[word] = counts.get(word, 0) + 1
        note = f": {run.note}" if run.note else ""
        print(f"  {run.run_id}  {word}{note}", file=sys.stderr if word == "failed" else sys.stdout, flush=True)
    print(", ".join(f"{count} {word}" for word, count in counts.items()) or "no runs")
    return 1 if "failed" in counts else 0


def _report(options: argparse.Namespace) -> int:
    import os

    from normbench.report.evidence import gather
    from normbench.store.folder import write_atomically

    evidence = gather(options.study, options.runs)
    logger = evidence.plan.runs[0].config.logger
    project = options.project or logger.project
    entity = options.entity or logger.entity or os.environ.get("WANDB_ENTITY")
    folder = options.reports / evidence.study.name
    if options.dry_run:
        from normbench.report.figures.charts import figures
        from normbench.tracking.report import build, specification

        path = folder / "wandb_report_spec.json"
        report = build(evidence, entity or "ENTITY", project, list(figures(evidence)))
        write_atomically(path, specification(report))
        print(path)
        return 0
    from normbench.tracking.publish import publish

    print(publish(evidence, folder, project, entity))
    return 0
