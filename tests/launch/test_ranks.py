"""Real data-parallel processes against one process, and against virtual devices."""

from __future__ import annotations

import csv
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from normbench.launch.ranks import execute
from normbench.spec.counts import device_batch, images_per_statistic
from normbench.spec.schema import RunConfig, replace

# float64 shows whether the computations are the same: in float32 the rounding of a different order of sums grows
# along a training path until nothing can be told.
BASE: dict[str, Any] = {
    "data.name": "mnist_5k",
    "data.batch_size": 24,
    "data.train_samples": 600,
    "model.norm_linear": True,
    "model.channels": [4, 8],
    "model.hidden": [16],
    "model.dropout": 0.3,
    "optimizer.lr": 0.02,
    "budget.steps": 20,
    "trainer.accelerator": "cpu",
    "trainer.precision": "64-true",
    "trainer.loss_points": 20,
    "trainer.validations": 2,
    "logger.wandb": "off",
}


def run_config(**changes: Any) -> RunConfig:
    return replace(RunConfig(), BASE | {key.replace("__", "."): value for key, value in changes.items()})


def losses(folder: Path) -> list[float]:
    """The logged values of a run: training losses and all evaluations, in order."""
    with (folder / "metrics.csv").open(newline="") as file:
        return [float(row["value"]) for row in csv.DictReader(file)]


def options(norm: str) -> dict[str, Any]:
    if norm == "instance":
        return {"model__norm": norm, "model__norm_linear": False}
    return {"model__norm": norm, **({"model__norm_options": {"groups": 4}} if norm == "group" else {})}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("norm", "devices"), [("none", 2), ("layer", 2), ("instance", 2), ("group", 2), ("sync_batch", 3)]
)
def test_many_processes_train_as_one(norm: str, devices: int, tmp_path: Path) -> None:
    one = execute(run_config(**options(norm)), tmp_path / "one")
    many = execute(run_config(**options(norm), trainer__devices=devices), tmp_path / "many")
    # 20 training losses, then accuracy, calibration error and likelihood; 3 processes divide neither the 500
    # validation nor the 1,000 test images evenly, and still each image is scored once.
    assert losses(tmp_path / "many") == pytest.approx(losses(tmp_path / "one"), rel=1e-6)
    assert many["devices"] == devices
    assert one["images_per_statistic"] == many["images_per_statistic"]


@pytest.mark.slow
@pytest.mark.parametrize("devices", [2, 4])
def test_batch_norm_on_real_devices_is_what_virtual_devices_compute(devices: int, tmp_path: Path) -> None:
    config = options("batch")
    real = execute(run_config(**config, trainer__devices=devices), tmp_path / "real")
    twin = execute(run_config(**config, trainer__virtual_devices=devices), tmp_path / "virtual")
    whole = execute(run_config(**config), tmp_path / "whole")
    # Evaluation uses the running statistics, so these agree as well.
    assert losses(tmp_path / "virtual") == pytest.approx(losses(tmp_path / "real"), rel=1e-6)
    assert losses(tmp_path / "whole") != pytest.approx(losses(tmp_path / "real"), rel=1e-3)
    assert real["images_per_statistic"] == twin["images_per_statistic"] == 24 // devices
    assert real["device_batch"] == 24 // devices
    assert whole["images_per_statistic"] == 24


@pytest.mark.slow
def test_accumulation_on_two_devices(tmp_path: Path) -> None:
    """Batch norm sees a part of a part: 24 images over 2 devices and 3 accumulated batches are 4 at a time."""
    config = options("batch") | {"trainer__accumulate_grad_batches": 3}
    real = execute(run_config(**config, trainer__devices=2), tmp_path / "real")
    execute(run_config(**config, trainer__virtual_devices=2), tmp_path / "virtual")
    assert losses(tmp_path / "virtual") == pytest.approx(losses(tmp_path / "real"), rel=1e-6)
    assert real["images_per_statistic"] == 4


def kill_a_rank(folder: Path, killed: list[int]) -> None:
    """Ends a rank with SIGKILL once the run has a checkpoint."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and not (folder / "checkpoint.ckpt").exists():
        time.sleep(0.01)
    for child in psutil.Process(os.getpid()).children():
        if "spawn_main" in " ".join(child.cmdline()):
            killed.append(child.pid)
            os.kill(child.pid, signal.SIGKILL)
            return


@pytest.mark.slow
def test_a_killed_rank_costs_nothing(tmp_path: Path) -> None:
    changes = options("batch") | {"budget__steps": 400, "trainer__checkpoints": 40, "trainer__devices": 2}
    undisturbed = execute(run_config(**changes), tmp_path / "undisturbed")
    killed: list[int] = []
    killer = threading.Thread(target=kill_a_rank, args=(tmp_path / "disturbed", killed))
    killer.start()
    disturbed = execute(run_config(**changes), tmp_path / "disturbed")
    killer.join()
    assert killed, "no rank was killed: the run was too short for this test"
    assert disturbed["metrics"] == undisturbed["metrics"]
    assert losses(tmp_path / "disturbed") == losses(tmp_path / "undisturbed")


@pytest.mark.parametrize(
    ("norm", "devices", "accumulate", "expected"),
    [("batch", 4, 1, 6), ("sync_batch", 4, 1, 24), ("layer", 4, 1, 1), ("none", 4, 1, 0), ("batch", 2, 3, 4)],
)
def test_images_per_statistic(norm: str, devices: int, accumulate: int, expected: int) -> None:
    from normbench.spec.resolve import resolve

    config = run_config(model__norm=norm, trainer__devices=devices, trainer__accumulate_grad_batches=accumulate)
    assert images_per_statistic(resolve(config)) == expected
    assert device_batch(config) == 24 // devices // accumulate


def test_a_batch_that_does_not_divide_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"data.batch_size=24 .* trainer.devices x trainer.num_nodes=5"):
        execute(run_config(trainer__devices=5), tmp_path)


def test_the_error_of_a_rank_reaches_the_caller(tmp_path: Path) -> None:
    plugin = tmp_path / "broken.py"
    plugin.write_text(
        "from normbench import register_norm\n"
        "@register_norm('broken', axes='none', scope='sample', same_in_eval=True)\n"
        "def broken(num_channels, spatial=True):\n"
        "    from torch import nn\n"
        "    class Broken(nn.Module):\n"
        "        def forward(self, x):\n"
        "            raise RuntimeError('this norm is broken')\n"
        "    return Broken()\n"
    )
    config = run_config(model__norm="broken", trainer__devices=2, plugins=[str(plugin)])
    with pytest.raises(RuntimeError, match="this norm is broken"):
        execute(config, tmp_path / "run")


def test_virtual_devices_leave_other_norms_alone(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    whole = execute(run_config(model__norm="layer"), tmp_path / "whole")
    parts = execute(run_config(model__norm="layer", trainer__virtual_devices=4), tmp_path / "parts")
    assert whole["metrics"] == parts["metrics"]
