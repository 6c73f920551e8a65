"""Saves a study's W&B report: made once, updated ever after."""

from __future__ import annotations

import json
import tempfile
import urllib.parse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from normbench.errors import NormbenchError
from normbench.report import write_figures
from normbench.report.evidence import Evidence
from normbench.store import write_atomically
from normbench.tracking.client import open_run, settings, silent_wandb, without_key
from normbench.tracking.identity import LONGEST_GROUP, REPORT_JOB, study_tag
from normbench.tracking.push import require_server
from normbench.tracking.report import FIGURES, build, title

MEMORY = "wandb_report.json"
TIMEOUT_SECONDS = 30


def publish(evidence: Evidence, folder: Path, project: str, entity: str | None) -> str:
    """Saves the report and returns its link. `folder`/wandb_report.json remembers which one it is.

    Args:
        evidence: The study's evidence.
        folder: The study's folder of reports.
        project: W&B project.
        entity: W&B user or team; None takes the account's default.
    """
    require_server()
    wandb = silent_wandb()
    try:
        api = wandb.Api(timeout=TIMEOUT_SECONDS)
        owner = entity or api.default_entity
        pictures = {path.stem: path for path in write_figures(evidence, folder) if path.suffix == ".png"}
        _log_figures(wandb, evidence, pictures, project, owner)
        wandb = silent_wandb()  # again: closing the run has put wandb away
        api = wandb.Api(timeout=TIMEOUT_SECONDS)
        report = build(evidence, owner, project, list(pictures))
        report.id = known_report(api, evidence, folder, owner, project)
        report.save()
        link = _link(wandb, report)
    except (wandb.Error, TimeoutError) as error:
        raise NormbenchError(without_key(f"wandb: {type(error).__name__}: {error}")) from None
    finally:
        wandb.teardown()
    memory = {"entity": owner, "project": project, "id": report.id, "url": link}
    write_atomically(folder / MEMORY, json.dumps(memory, indent=2) + "\n")
    return link


def known_report(api: Any, evidence: Evidence, folder: Path, entity: str, project: str) -> str:
    """The id of this study's report, if W&B still has it: the remembered one, else one of the same title; or ''."""
    try:
        remembered = json.loads((folder / MEMORY).read_text(encoding="utf-8")).get("id")
    except (OSError, ValueError):
        remembered = None
    try:
        there = {report.id: report.display_name for report in api.reports(f"{entity}/{project}")}
    except ValueError:  # the project does not exist yet
        return ""
    if remembered in there:
        return str(remembered)
    return next((str(key) for key, name in there.items() if name == title(evidence)), "")


def _log_figures(wandb: Any, evidence: Evidence, pictures: Mapping[str, Path], project: str, entity: str) -> None:
    """A report shows pictures that a run has logged: one run a study, which each report adds a step to."""
    if not pictures:
        return
    study = evidence.study.name
    with tempfile.TemporaryDirectory() as folder:  # all of it is at W&B once the run has ended
        run = open_run(
            wandb,
            id=f"{study}-{REPORT_JOB}",
            name=f"{study}: figures",
            project=project,
            entity=entity,
            group=study[:LONGEST_GROUP],
            job_type=REPORT_JOB,
            tags=[study_tag(study)],
            mode="online",
            dir=folder,
            settings=settings(wandb, 2 * TIMEOUT_SECONDS, strict=True),
            resume="allow",
        )
        try:
            run.log({f"{FIGURES}/{name}": wandb.Image(str(path)) for name, path in pictures.items()})
        finally:
            run.finish()
            wandb.teardown()


def _link(wandb: Any, report: Any) -> str:
    """Report.url loses a part of the path where the server's address has one."""
    slug = urllib.parse.quote(report.title.replace(" ", "-"), safe="")
    identifier = report.id.rstrip("=")
    app = str(wandb.setup().settings.app_url).rstrip("/")
    return f"{app}/{report.entity}/{report.project}/reports/{slug}--{identifier}"
