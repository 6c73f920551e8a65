"""Run folders to W&B: builds every run again from its files, or adds what W&B lacks of it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from normbench.errors import NormbenchError
from normbench.spec import DegenerateStatisticWarning, RunConfig, from_dict, resolve, run_id
from normbench.store import RunFolder, Store
from normbench.store.folder import CONFIG
from normbench.tracking import offline
from normbench.tracking.client import silent_wandb, without_key
from normbench.tracking.identity import Labels, Places, entity_of, project_of
from normbench.tracking.mode import answers, key_problem, server
from normbench.tracking.points import Follower
from normbench.tracking.session import Session


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


def require_server() -> str:
    """The address of a server that answers, with an API key at hand; else an error that says what is missing."""
    silent_wandb()
    if problem := key_problem():
        raise NormbenchError(f"wandb: {problem}")
    host = server()
    if not answers(host):
        raise NormbenchError(f"wandb: {host} does not answer: try again later, or set WANDB_BASE_URL")
    return host


def push(
    store: Store,
    study: str,
    cells: Mapping[str, Labels] | None = None,
    project: str | None = None,
    entity: str | None = None,
) -> Iterator[Pushed]:
    """Sends the runs of a study one after the other. Sending one twice changes nothing.

    Args:
        store: The run folders.
        study: The study's name, under which all of its runs are found at W&B.
        cells: The labels (by axis) of every run of its plan; None: what the store has written down for the study.
        project: W&B project, where it is not that of the runs.
        entity: W&B user or team, likewise.

    Raises:
        NormbenchError: Nothing of the study has run here, or the server cannot be used.
    """
    folders = [store.folder(run_id) for run_id in (sorted(store.ids_of(study)) if cells is None else cells)]
    begun = [folder for folder in folders if (folder.path / CONFIG).is_file()]
    if not begun:
        raise NormbenchError(f"{store.root} has no run of {study}: nothing of this study has run here")
    require_server()
    for folder in begun:
        places = {name: store.labels_of(name, folder.id) for name in _studies(store, study, folder.id)}
        if cells is not None:
            places[study] = dict(cells[folder.id])
        try:
            yield _push_one(folder, places, project, entity)
        except NormbenchError as error:  # a configuration or a result that cannot be read
            yield Pushed(folder.id, "failed", str(error))
        except (silent_wandb().Error, TimeoutError) as error:
            yield Pushed(folder.id, "failed", without_key(f"{type(error).__name__}: {error}"))


def _studies(store: Store, study: str, run_id: str) -> list[str]:
    """The studies that use a run, in an order that does not hang on which of them is sent: the first is the group."""
    return sorted({study, *store.studies_of(run_id)})


def _push_one(folder: RunFolder, places: Places, project: str | None, entity: str | None) -> Pushed:
    if folder.state() == "running":
        return Pushed(folder.id, "running", "it is being trained")
    config, result = _config(folder), folder.result()
    logs = offline.unsent(folder.path)
    if any(offline.with_media(log, folder.id) for log in logs):
        where = project_of(config.logger, project), entity_of(config.logger, entity)
        if not offline.known(silent_wandb(), folder.id, *where):
            for log in logs:
                if offline.with_media(log, folder.id):
                    offline.synchronize(log, *where)
    session = Session(config, folder.path, "online", places, strict=True, project=project, entity=entity)
    try:
        session.log(Follower(folder.metrics_path).read())
        link = str(session.run.url)
    finally:
        session.close(result)
    for log in logs:
        offline.mark(log)
    return Pushed(session.run_id, "finished" if result is not None else "unfinished", link)


def resolved(tree: Mapping[str, Any]) -> RunConfig:
    """The resolved configuration of a run that was trained: what a plan would warn of was said then."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateStatisticWarning)
        return resolve(from_dict(tree))


def _config(folder: RunFolder) -> RunConfig:
    """The configuration of a run, of which the folder has to be the one."""
    config = resolved(folder.config())
    if (found := run_id(config)) != folder.id:
        raise NormbenchError(f"{folder.path}: its config.yaml is that of run {found}: not sent")
    return config
