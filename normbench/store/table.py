"""runs/ to one tidy table, a row a run, with an index so that a second reading opens only what is new."""

from __future__ import annotations

import io
import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from normbench.errors import RunFolderError
from normbench.store.folder import CURVE_COLUMNS, LAYOUT, METRICS, RESULT, read_result

# The columns that every study has, in this order; the axes of a study that are not among them follow.
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
INDEX = "index.parquet"

# Dotted keys of a configuration under the name that a table's reader expects.
SHORT = {
    "model.name": "model",
    "model.norm": "norm",
    "data.batch_size": "batch_size",
    "data.name": "dataset",
    "optimizer.lr": "base_lr",  # `lr` is the rate that trained, scaled with the batch size
}


def column(axis: str) -> str:
    """The results table's column of an axis of a study."""
    return SHORT.get(axis, axis.rpartition(".")[2])


def row(study: str, result: Mapping[str, Any]) -> dict[str, Any]:
    """A result as a row of the results table."""
    config = result["config"]
    facts: dict[str, Any] = {
        **{key: result.get(key) for key in COLUMNS if key in result},
        **result["metrics"],
        "study": study,
        "dataset": result["dataset"]["name"],
        "model": config["model"]["name"],
        "norm": config["model"]["norm"],
        "batch_size": config["data"]["batch_size"],
        "seed": config["seed"],
        "git_commit": result["environment"]["git_commit"],
        "device": result["environment"]["device"],
    }
    return {key: facts.get(key) for key in COLUMNS}


def results_table(study: str, folder: Path, cells: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """The finished runs of a study: COLUMNS, then the axes that are not among them.

    Args:
        study: Its name.
        folder: Folder of its runs.
        cells: Cell (axis to label) of every planned run's id; other folders are not read.
    """
    facts = _indexed(study, folder, cells.keys())
    axes = list(next(iter(cells.values()), {}))
    # A grouped axis has labels that no single configuration key has, so labels come from the plan.
    labels = {column(axis): _sortable([cells[run_id][axis] for run_id in facts["run_id"]]) for axis in axes}
    table = facts.assign(**labels)
    extra = [name for name in labels if name not in COLUMNS]
    order = [*labels, "seed"]
    return table[[*COLUMNS, *extra]].sort_values(order, kind="stable", ignore_index=True)


def _sortable(labels: list[Any]) -> list[Any] | pd.Categorical:
    """Labels as they are; numbers among names (`[same, 1]`), which do not compare, get an order: numbers first."""
    if len({isinstance(label, str) for label in labels}) < 2:
        return labels
    order = sorted(set(labels), key=lambda label: (isinstance(label, str), label))
    return pd.Categorical(labels, categories=order, ordered=True)


def _indexed(study: str, folder: Path, wanted: Collection[str]) -> pd.DataFrame:
    """COLUMNS of every finished run of `wanted` in `folder`, from the index where result.json is as it was."""
    stamps = {}
    for entry in os.scandir(folder) if folder.is_dir() else []:
        if entry.name in wanted:
            try:
                stamps[entry.name] = os.stat(f"{entry.path}/{RESULT}").st_mtime_ns  # noqa: PTH116  (100,000 times)
            except (FileNotFoundError, NotADirectoryError):
                continue
    index = _read_index(folder / INDEX)
    if len(index):
        # Rows of runs that are not asked for now, such as those of a cell taken out of the study, stay.
        index = index[(index["mtime_ns"] == index["folder"].map(stamps)) | ~index["folder"].isin(wanted)]
    new = sorted(stamps.keys() - set(index["folder"]))
    if new:
        rows = []
        for name in new:
            result = read_result(folder / name)
            if result is not None:
                rows.append({**row(study, result), "folder": name, "mtime_ns": stamps[name], "layout": LAYOUT})
        fresh = _typed(pd.DataFrame(rows, columns=[*COLUMNS, "folder", "mtime_ns", "layout"]))
        index = pd.concat([index, fresh], ignore_index=True) if len(index) else fresh
        try:
            fresh_path = folder / f"{INDEX}.{os.getpid()}"
            index.to_parquet(fresh_path)
            fresh_path.replace(folder / INDEX)
        except OSError:
            pass  # a folder that only can be read is read in full each time
    return index[index["folder"].isin(stamps)].assign(study=study)


def _read_index(path: Path) -> pd.DataFrame:
    empty = pd.DataFrame(columns=[*COLUMNS, "folder", "mtime_ns", "layout"])
    try:
        index = pd.read_parquet(path)
    except (OSError, ValueError):  # not there, or not Parquet: it is only a cache
        return empty
    return index if list(index.columns) == list(empty.columns) and (index["layout"] == LAYOUT).all() else empty


def _typed(frame: pd.DataFrame) -> pd.DataFrame:
    """One type a column, whatever the first rows hold: a study without a diverged run still has numbers there."""
    text = {"study", "run_id", "dataset", "model", "norm", "git_commit", "device", "folder"}
    whole = {"parameters", "batch_size", "seed", "steps", "samples", "mtime_ns", "layout", "images_per_statistic"}
    whole |= {"devices", "virtual_devices", "device_batch"}
    kinds: dict[str, str] = {}
    for name in frame.columns:
        if name not in text:
            kinds[name] = "int64" if name in whole else "Int64" if name == "diverged_at_step" else "float64"
    return frame.astype(kinds)


def curves(folder: Path, run_ids: Iterable[str]) -> pd.DataFrame:
    """The logged points of runs: run_id, then the columns of metrics.csv."""
    ids, counts, texts = [], [], []
    for run_id in run_ids:
        try:
            _, _, body = (folder / run_id / METRICS).read_text(encoding="utf-8").partition("\n")
        except FileNotFoundError:
            continue
        ids.append(run_id)
        counts.append(body.count("\n"))
        texts.append(body)
    # One parse of all files: opening a parser for each takes most of the time of a large study.
    try:
        frame = pd.read_csv(io.StringIO("".join(texts)), header=None, names=list(CURVE_COLUMNS), engine="pyarrow")
    except pd.errors.EmptyDataError:
        frame = pd.DataFrame(columns=list(CURVE_COLUMNS))
    if len(frame) != sum(counts):
        raise RunFolderError(f"a {METRICS} in {folder} has a broken line: remove its run folder to repeat the run")
    frame.insert(
        0, "run_id", pd.Series(pd.Categorical.from_codes(np.repeat(np.arange(len(ids)), counts), pd.Index(ids)))
    )
    return frame
