"""Small runs on the 5,000 embedded digits, and what came out of them."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from normbench.spec import RunConfig, resolve, run_config, run_id
from normbench.store.folder import Progress
from normbench.train import train

TINY: dict[str, Any] = {
    "data.name": "mnist_5k",
    "data.train_samples": 512,
    "data.batch_size": 32,
    "model.name": "cnn",
    "model.norm": "batch",
    "model.channels": [4, 8],
    "model.stride": 2,
    "model.pool": "none",
    "model.hidden": [16],
    "budget.steps": 24,
    "trainer.accelerator": "cpu",
    "trainer.validations": 2,
    "trainer.loss_points": 6,
}
MLP = {"model.name": "mlp", "model.channels": None, "model.stride": None, "model.pool": None, "model.hidden": None}


def tiny(**changes: Any) -> RunConfig:
    """A small run; keywords are dotted keys, and None takes one away."""
    keys = {**TINY, **changes}
    return run_config({key: value for key, value in keys.items() if value is not None or key not in TINY | MLP})


def folder_of(config: RunConfig, root: Path) -> Path:
    return root / run_id(resolve(config))


def trained(
    config: RunConfig, root: Path, progress: Progress | None = None, callbacks: Sequence[pl.Callback] = ()
) -> dict[str, Any]:
    """The result of a run in its folder under `root`."""
    return train(config, folder_of(config, root), progress, callbacks)


def curve(folder: Path) -> list[dict[str, str]]:
    """The rows of metrics.csv without the column that a clock decides."""
    with (folder / "metrics.csv").open(newline="") as file:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]


def losses(folder: Path) -> list[float]:
    return [float(row["value"]) for row in curve(folder) if row["split"] == "train"]


def lasting(result: dict[str, Any]) -> dict[str, Any]:
    """A result without what a clock decides."""
    return {key: value for key, value in result.items() if "second" not in key}


class Cut(Exception):  # noqa: N818  (a power cut is no error of the program)
    """The run was cut off."""


def cut_at(step: int) -> Progress:
    def progress(now: int) -> None:
        if now >= step:  # blocks of steps end where they end
            raise Cut

    return progress


def plain_trainer(**options: Any) -> pl.Trainer:
    """Lightning's own Trainer as a user would make it."""
    return pl.Trainer(
        **{
            "accelerator": "cpu",
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "max_steps": 12,
            "limit_val_batches": 0,
        }
        | options
    )
