"""W&B to run folders: runs logged on other machines join the results table as if they had run here.

What comes from W&B is text that others wrote: a run's id becomes a folder only if the run's configuration hashes to it,
no file that it names is opened, and what does not fit is named and left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from normbench.errors import NormbenchError, UsageError
from normbench.privacy import file_name
from normbench.spec import run_id, to_dict
from normbench.store import LAYOUT, Store, layout1, write_atomically
from normbench.store.folder import METRICS
from normbench.store.result import json_text, parsed, problem
from normbench.store.store import RUN_ID
from normbench.tracking.client import silent_wandb, without_key
from normbench.tracking.identity import REPORT_JOB, study_tag
from normbench.tracking.points import POSITION, metrics_csv
from normbench.tracking.push import Pushed, require_server, resolved

TIMEOUT_SECONDS = 30
PAGE = 100
Tree = dict[str, Any]
# JSON at W&B has no 1.0, only 1: what is a real number in a result becomes one again.
REAL = frozenset({"epochs", "lr", "seconds", "samples_per_second", "wall_seconds"})
# A W&B summary has no null: what is missing there was one.
NULLABLE = ("diverged_at_step", "samples_per_second")
# Real numbers of a configuration of version 0.1, whose id is a hash of how they were written.
REAL_LAYOUT1 = frozenset(
    {"dropout", "lr", "momentum", "weight_decay", "step_every", "step_factor", "gradient_clip_val"}
)


def pull(path: str, study: str, store: Store, plugins: Sequence[str] = ()) -> Iterator[Pushed]:
    """Writes a run folder for every finished run of a study that this machine has no result of.

    Args:
        path: ENTITY/PROJECT.
        study: The study: its tag, or its group where it was logged by version 0.1.
        store: Where the run folders go.
        plugins: Plug-in files of this machine. A run that needs one is taken if it names a file of the same name, and
            that file still gives the run's id.

    Raises:
        UsageError: `path` is not ENTITY/PROJECT.
        NormbenchError: The server cannot be used.
    """
    if not re.fullmatch(r"[^/\s]+/[^/\s]+", path):
        raise UsageError(f"'{path}' is not ENTITY/PROJECT, for example my-team/normbench")
    require_server()
    wandb = silent_wandb()
    files = {Path(plugin).name: str(plugin) for plugin in plugins}
    pulled: set[str] = set()
    try:
        api = wandb.Api(timeout=TIMEOUT_SECONDS)
        filters = {"$or": [{"tags": {"$in": [study_tag(study)]}}, {"group": study}]}
        for run in api.runs(path, filters=filters, per_page=PAGE, lazy=False):
            if run.job_type == REPORT_JOB:
                continue
            said = _pull_one(run, study, store, files)
            if said.state in {"finished", "present"}:
                pulled.add(said.run_id)
            yield said
    except NormbenchError:
        raise
    except Exception as error:  # some of what wandb raises is not one of its own errors
        raise NormbenchError(without_key(f"wandb: cannot read {path}: {error}")) from None
    finally:
        wandb.teardown()
        if pulled:
            store.record(study, store.ids_of(study) | pulled)


def _pull_one(run: Any, study: str, store: Store, files: Mapping[str, str]) -> Pushed:
    shown = run.id if RUN_ID.fullmatch(run.id) else repr(run.id)[:60]
    try:
        result = as_result(run.summary_metrics, run.id, study, files)
        folder = store.folder(result["run_id"])
        if folder.result() is not None:
            return Pushed(folder.id, "present")
        if (why := problem(parsed(json_text(result)), folder.id)) is not None:
            raise NormbenchError(f"its result {why}")
        rows = [row for row in run.scan_history() if all(axis in row for axis in POSITION)]
        curves = metrics_csv(rows)
    except NormbenchError as error:
        return Pushed(shown, "left", str(error))
    except (TypeError, ValueError, KeyError, AttributeError, RecursionError) as error:
        return Pushed(shown, "left", f"not what normbench sends ({type(error).__name__})")
    with folder.claim() as claimed:
        if not claimed:
            return Pushed(folder.id, "running", "it is being trained here")
        write_atomically(folder.path / METRICS, curves)
        folder.write_config(result["config"])
        folder.write_result(result)
        folder.checkpoint_path.unlink(missing_ok=True)
    return Pushed(folder.id, "finished")


def as_result(summary: Mapping[str, Any], wandb_id: str, study: str, files: Mapping[str, str]) -> Tree:
    """The result.json that a W&B summary was made from. Raises NormbenchError where it cannot be believed.

    Args:
        summary: The summary of a W&B run.
        wandb_id: The id of that run.
        study: The study, for what is said of a result of version 0.1.
        files: Plug-in files of this machine by name.
    """
    result = {key: value for key, value in summary.items() if not key.startswith("_") and "/" not in key}
    # The id becomes a folder, so it is not taken on trust.
    if not RUN_ID.fullmatch(wandb_id) or result.get("run_id") != wandb_id:
        raise NormbenchError("it is not a run of normbench that ended")
    if result.get("layout") not in (LAYOUT, layout1.LAYOUT) or not isinstance(result.get("config"), dict):
        raise NormbenchError(f"its result has layout {result.get('layout')!r}, this version reads {LAYOUT}")
    result = {**dict.fromkeys(NULLABLE), **result}
    for key in REAL & result.keys():
        result[key] = _real(result[key])
    result["metrics"] = {key: _real(value) for key, value in result["metrics"].items()}
    old = result["layout"] == layout1.LAYOUT
    tree = _of_layout1(result, wandb_id) if old else result["config"]
    config = resolved(with_files(tree, files))
    found = run_id(config)
    if old:
        result["migrated_from"] = {"layout": layout1.LAYOUT, "study": study, "run_id": wandb_id}
        result["code_digest"] = None  # version 0.1 did not record it
    elif found != wandb_id:
        raise NormbenchError(f"its configuration is that of run {found}")
    return result | {"layout": LAYOUT, "run_id": found, "config": to_dict(config)}


def _of_layout1(result: Tree, wandb_id: str) -> Tree:
    """The configuration of today of a result of version 0.1."""
    tree = {
        section: {key: _real(v) if key in REAL_LAYOUT1 else v for key, v in values.items()}
        if isinstance(values, Mapping)
        else values
        for section, values in result["config"].items()
    }
    if tree.get("plugins"):
        raise NormbenchError("a run of version 0.1 with plug-ins: move its folder here and use `normbench migrate`")
    tree["model"] = {"norm_options": {}, "options": {}} | tree["model"]  # W&B drops what is empty
    tree["plugins"] = []
    if (was := layout1.run_id(tree)) != wandb_id:
        raise NormbenchError(f"its configuration is that of run {was} of version 0.1")
    converted = layout1.converted(tree, str(result["environment"]["device"]))
    if isinstance(converted, str):
        raise NormbenchError(f"a run of version 0.1: {converted}")
    return converted


def with_files(tree: Tree, files: Mapping[str, str]) -> Tree:
    """A pulled configuration that names files of this machine only: its plug-ins are those of the same name here.

    No other file is opened because a W&B run says so. Raises NormbenchError for a plug-in that is not here.
    """
    names = [file_name(str(name)) for name in tree.get("plugins") or []]
    if missing := [name for name in names if name not in files]:
        raise NormbenchError(f"its plug-in {missing[0]} is not among those of the study: name the study's file")
    data = {key: value for key, value in tree.get("data", {}).items() if key != "dir"}
    if "path" in data:
        raise NormbenchError(f"its images are a file of another machine, {file_name(str(data['path']))}")
    return {**tree, "data": data, "plugins": [files[name] for name in names]}


def _real(value: Any) -> Any:
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value
