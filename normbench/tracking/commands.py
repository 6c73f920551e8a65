"""`normbench wandb push|pull|report`. Imports nothing heavy until a command needs it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from normbench.store import Store
    from normbench.tracking.push import Pushed

EXPERIMENTS = Path("experiments")


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
    push.add_argument("study", help="a study file, or the name of one in experiments/ or in --runs")
    push.set_defaults(command=_push)

    text = "write run folders for the finished runs of a study that were logged elsewhere"
    pull = commands.add_parser("pull", help=text, description=text, parents=[common])
    pull.add_argument("path", metavar="ENTITY/PROJECT", help="where the runs are at W&B")
    pull.add_argument(
        "--study", required=True, metavar="NAME", help="the study: its file, or the name that its runs are tagged with"
    )
    pull.set_defaults(command=_pull)

    text = "make the W&B report of a study, or update it; prints its link"
    report = commands.add_parser("report", help=text, description=text, parents=[where, common])
    report.add_argument("study", help="a study file, or the name of one in experiments/")
    report.add_argument("--reports", type=Path, default=Path("reports"), help="folder of all reports")
    report.add_argument("--dry-run", action="store_true", help="write the report's specification, without any network")
    report.set_defaults(command=_report)


def _push(options: argparse.Namespace) -> int:
    from normbench.store import Store
    from normbench.tracking.push import push

    store = Store(options.runs)
    name, cells = _plan(options.study, store)
    said = {"finished": "sent", "unfinished": "sent, without a result", "running": "left alone"}
    return _tell(push(store, name, cells, options.project, options.entity), said)


def _plan(study: str, store: Store) -> tuple[str, dict[str, Mapping[str, Any]] | None]:
    """Name and cells of a study, or the name alone of one whose file is not here but whose runs are."""
    from normbench.study import load_study, stored_plan

    if store.ids_of(study) and not Path(study).is_file() and not (EXPERIMENTS / f"{study}.yaml").is_file():
        return study, None
    plan = stored_plan(load_study(study), store)
    return plan.study.name, {run.id: run.cell for run in plan.runs}


def _pull(options: argparse.Namespace) -> int:
    from normbench.errors import UsageError
    from normbench.store import Store
    from normbench.study import load_study
    from normbench.study.file import NAME
    from normbench.tracking.pull import pull

    name, plugins = options.study, []
    if Path(name).is_file() or (EXPERIMENTS / f"{name}.yaml").is_file():
        study = load_study(name)
        name, plugins = study.name, study.base.plugins
    elif not NAME.fullmatch(name):
        raise UsageError(f"--study '{name}' is neither a study nor the name of one")
    said = {"finished": "written", "present": "here already", "left": "left out", "running": "left out"}
    return _tell(pull(options.path, name, Store(options.runs), plugins), said)


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
    from normbench.report.collection import gather
    from normbench.store import write_atomically
    from normbench.tracking.identity import entity_of, project_of

    evidence = gather(options.study, options.runs)
    logger = evidence.plan.runs[0].config.logger
    project, entity = project_of(logger, options.project), entity_of(logger, options.entity)
    folder = options.reports / evidence.study.name
    if options.dry_run:
        from normbench.report.figures import drawn_figures
        from normbench.tracking.report import build, specification

        path = folder / "wandb_report_spec.json"
        report = build(evidence, entity or "ENTITY", project, list(drawn_figures(evidence)))
        write_atomically(path, specification(report))
        print(path)
        return 0
    from normbench.tracking.publish import publish

    print(publish(evidence, folder, project, entity))
    return 0
