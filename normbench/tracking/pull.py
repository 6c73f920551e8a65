"""W&B to run folders: runs logged on other machines join the results table as if they had run here."""

from __future__ import annotations

import json
import re
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from normbench.errors import NormbenchError, UsageError
from normbench.spec.schema import flatten, from_dict, known_keys, to_dict
from normbench.store.folder import CHECKPOINT, CONFIG, LAYOUT, METRICS, RESULT, claimed, read_result, write_atomically
from normbench.tracking.mode import silent_wandb
from normbench.tracking.points import AXES, metrics_csv
from normbench.tracking.push import Pushed, require_server
from normbench.tracking.session import REPORT_JOB, without_key

TIMEOUT_SECONDS = 30
PAGE = 100
# JSON at W&B has no 1.0, only 1: what is a real number in a result becomes one again.
REAL = frozenset({"epochs", "lr", "seconds", "samples_per_second", "wall_seconds"})
# A W&B summary has no null: what is missing there was one.
NULLABLE = ("diverged_at_step", "samples_per_second")


def pull(path: str, study: str, study_folder: Path) -> Iterator[Pushed]:
    """Writes a run folder for every finished run of a group that this machine has no result of.

    Args:
        path: ENTITY/PROJECT.
        study: The study, which is the W&B group.
        study_folder: Folder of the study's run folders.
    """
    if not re.fullmatch(r"[^/\s]+/[^/\s]+", path):
        raise UsageError(f"'{path}' is not ENTITY/PROJECT, for example my-team/normbench")
    require_server()
    wandb = silent_wandb()
    try:
        api = wandb.Api(timeout=TIMEOUT_SECONDS)
        for run in api.runs(path, filters={"group": study}, per_page=PAGE, lazy=False):
            if run.job_type != REPORT_JOB:
                yield _pull_one(run, study_folder)
    except (wandb.Error, ValueError) as error:
        raise NormbenchError(without_key(f"wandb: cannot read {path}: {error}")) from None
    finally:
        wandb.teardown()


def _pull_one(run: Any, study_folder: Path) -> Pushed:
    result = as_result(run.summary_metrics)
    # The id becomes a folder, so it is not taken on trust.
    if not re.fullmatch(r"[0-9a-f]{16}", run.id) or result is None or result["run_id"] != run.id:
        return Pushed(run.id, "unfinished", "no result of this version of normbench")
    folder = study_folder / run.id
    if read_result(folder) is not None:
        return Pushed(run.id, "present")
    rows = [row for row in run.scan_history() if all(axis in row for axis in AXES)]
    with claimed(folder) as mine:
        if not mine:
            return Pushed(run.id, "running", "it is being trained here")
        write_atomically(folder / METRICS, metrics_csv(rows))
        write_atomically(folder / CONFIG, yaml.safe_dump(result["config"], sort_keys=False))
        write_atomically(folder / RESULT, json.dumps(result, indent=2, allow_nan=False) + "\n")
        (folder / CHECKPOINT).unlink(missing_ok=True)
    return Pushed(run.id, "finished")


def as_result(summary: Mapping[str, Any]) -> dict[str, Any] | None:
    """The result.json that a W&B summary was made from; None where it was made from something else."""
    result = {key: value for key, value in summary.items() if not key.startswith("_") and "/" not in key}
    result = {**dict.fromkeys(NULLABLE), **result}
    if result.get("layout") != LAYOUT or not isinstance(result.get("config"), dict) or "run_id" not in result:
        return None
    for key, value in result.items():
        if key in REAL:
            result[key] = _real(value)
    result["metrics"] = {key: _real(value) for key, value in result["metrics"].items()}
    try:
        result["config"] = _typed_config(result["config"])
    except UsageError:  # keys of another version
        return None
    return result


def _real(value: Any) -> Any:
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _typed_config(tree: Mapping[str, Any]) -> dict[str, Any]:
    hints = known_keys()
    typed: dict[str, Any] = {}
    for key, value in flatten(tree):
        section, _, name = key.partition(".")
        exact = _real(value) if _is_real(hints.get(key)) else value
        if name:
            typed.setdefault(section, {})[name] = exact
        else:
            typed[section] = exact
    return to_dict(from_dict(typed))


def _is_real(hint: Any) -> bool:
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return any(_is_real(part) for part in typing.get_args(hint))
    return hint is float
