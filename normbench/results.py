"""runs/ to one tidy table: a row a run."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from normbench.config import flatten
from normbench.runs import METRICS, read_result

# The columns that every study has, in this order; the axes of a study and all test metrics follow.
COLUMNS = (
    "study",
    "run_id",
    "dataset",
    "model",
    "norm",
    "parameters",
    "batch_size",
    "devices",
    "virtual_devices",
    "device_batch",
    "images_per_statistic",
    "lr",
    "seed",
    "steps",
    "samples",
    "test_accuracy",
    "test_nll",
    "test_calibration_error",
    "val_accuracy",
    "val_nll",
    "val_calibration_error",
    "train_loss",
    "seconds",
    "samples_per_second",
    "wall_seconds",
    "diverged_at_step",
    "git_commit",
    "device",
)

# Dotted keys of a configuration under the name that a table's reader expects.
SHORT = {"model.name": "model", "model.norm": "norm", "data.batch_size": "batch_size", "data.name": "dataset"}


def column(axis: str) -> str:
    """The results table's column of an axis of a study."""
    return SHORT.get(axis, axis.rpartition(".")[2])


def row(study: str, result: Mapping[str, Any]) -> dict[str, Any]:
    """A result as a row of the results table."""
    config, metrics = result["config"], result["metrics"]
    facts: dict[str, Any] = {
        "study": study,
        "run_id": result["run_id"],
        "dataset": result["dataset"]["name"],
        "model": config["model"]["name"],
        "norm": config["model"]["norm"],
        "batch_size": config["data"]["batch_size"],
        "seed": config["seed"],
        "git_commit": result["environment"]["git_commit"],
        "device": result["environment"]["device"],
        **{key: result.get(key) for key in COLUMNS if key in result},
        **metrics,
    }
    return {key: facts.get(key) for key in COLUMNS}


def results_table(study: str, folder: Path, cells: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """The finished runs of a study: COLUMNS, then the axes that are not among them.

    Args:
        study: Its name.
        folder: Folder of its runs.
        cells: Cell (axis to label) of every planned run's id; other folders are not read.
    """
    rows = []
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name) if folder.is_dir() else []:
        if entry.name in cells and (result := read_result(Path(entry.path))) is not None:
            axes = {column(axis): label for axis, label in cells[entry.name].items()}
            rows.append({**row(study, result), **axes})
    axes_of_study = [column(axis) for axis in next(iter(cells.values()), {})]
    extra = [axis for axis in axes_of_study if axis not in COLUMNS]
    table = pd.DataFrame(rows, columns=[*COLUMNS, *extra])
    order = [column for column in (*axes_of_study, "seed") if column in table]
    return table.sort_values(order, kind="stable", ignore_index=True) if len(table) else table


def curves(folder: Path, run_ids: Iterable[str]) -> pd.DataFrame:
    """The logged points of runs: run_id, then the columns of metrics.csv."""
    frames = []
    for run_id in run_ids:
        path = folder / run_id / METRICS
        if path.exists():
            frames.append(pd.read_csv(path).assign(run_id=run_id))
    if not frames:
        return pd.DataFrame(columns=["run_id", "step", "samples", "epoch", "seconds", "split", "metric", "value"])
    return pd.concat(frames, ignore_index=True)


def flat_config(result: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of a result as dotted keys."""
    return dict(flatten(result["config"]))
