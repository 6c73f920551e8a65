"""Run folders to W&B: builds every run again from its files, or adds what W&B lacks of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from normbench.errors import NormbenchError
from normbench.spec.schema import RunConfig, from_dict, load_yaml, replace
from normbench.store.folder import CONFIG, METRICS, read_result, state
from normbench.tracking.mode import answers, key_problem, server, silent_wandb
from normbench.tracking.points import Follower
from normbench.tracking.session import Session, without_key


@dataclass(frozen=True)
class Pushed:
    """What became of one run, with a link or a reason.

    Args:
        run_id: The run.
        state: finished, unfinished, running (left alone), present (here already) or failed.
        note: A link, or why.
    """

    run_id: str
    state: str
    note: str = ""


def run_folders(study_folder: Path) -> list[Path]:
    """The folders of a study that hold a run."""
    if not study_folder.is_dir():
        raise NormbenchError(f"{study_folder} does not exist: nothing of this study has run here")
    return sorted(path.parent for path in study_folder.glob(f"*/{CONFIG}"))


def require_server() -> str:
    """The address of a server that answers, with an API key at hand; else an error that says what is missing."""
    if problem := key_problem():
        raise NormbenchError(f"wandb: {problem}")
    host = server()
    if not answers(host):
        raise NormbenchError(f"wandb: {host} does not answer: try again later, or set WANDB_BASE_URL")
    return host


def push(study_folder: Path, project: str | None = None, entity: str | None = None) -> Iterator[Pushed]:
    """Sends the runs of a study one after the other. Sending one twice changes nothing.

    Args:
        study_folder: Folder of the study's run folders.
        project: W&B project, where it is not that of the runs.
        entity: W&B user or team, likewise.
    """
    folders = run_folders(study_folder)
    require_server()
    wanted = {"logger.project": project, "logger.entity": entity}
    changes = {key: value for key, value in wanted.items() if value}
    for folder in folders:
        if state(folder) == "running":
            yield Pushed(folder.name, "running", "it is being trained")
            continue
        config = replace(from_dict(load_yaml(folder / CONFIG, "configuration")), changes)
        try:
            yield _push_one(config, folder)
        except (silent_wandb().Error, TimeoutError) as error:
            yield Pushed(folder.name, "failed", without_key(f"{type(error).__name__}: {error}"))


def _push_one(config: RunConfig, folder: Path) -> Pushed:
    result = read_result(folder)
    session = Session(config, folder, "online", strict=True)
    try:
        session.log(Follower(folder / METRICS).read())
        link = str(session.run.url)
    finally:
        session.close(result)
    return Pushed(session.run_id, "finished" if result is not None else "unfinished", link)
