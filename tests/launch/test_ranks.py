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

from normbench.launch import execute
from normbench.spec import RunConfig, device_batch, images_per_statistic, replace, resolve, run_id

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


class Trained:
    """A run's result, and the logged values of its folder: training losses and all evaluations, in order."""

    def __init__(self, config: RunConfig, root: Path) -> None:
        config = resolve(config)
        self.folder = root / run_id(config)
        self.result = execute(config, self.folder)
        with (self.folder / "metrics.csv").open(newline="") as file:
            self.values = [float(row["value"]) for row in csv.DictReader(file)]


def options(norm: str) -> dict[str, Any]:
    if norm == "instance":
        return {"model__norm": norm, "model__norm_linear": False}
    return {"model__norm": norm, **({"model__norm_options": {"groups": 4}} if norm == "group" else {})}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("norm", "devices"), [("none", 2), ("layer", 2), ("instance", 2), ("group", 2), ("sync_batch", 3)]
)
def test_many_processes_train_as_one(norm: str, devices: int, tmp_path: Path) -> None:
    one = Trained(run_config(**options(norm)), tmp_path)
    many = Trained(run_config(**options(norm), trainer__devices=devices), tmp_path)
    # 20 training losses, then accuracy, calibration error and likelihood; 3 processes divide neither the 500
    # validation nor the 1,000 test images evenly, and still each image is scored once.
    assert many.values == pytest.approx(one.values, rel=1e-6)
    assert many.result["devices"] == many.result["environment"]["processes"] == devices
    assert one.result["images_per_statistic"] == many.result["images_per_statistic"]


@pytest.mark.slow
@pytest.mark.parametrize("devices", [2, 4])
def test_batch_norm_on_real_devices_is_what_virtual_devices_compute(devices: int, tmp_path: Path) -> None:
    config = options("batch")
    real = Trained(run_config(**config, trainer__devices=devices), tmp_path)
    twin = Trained(run_config(**config, trainer__virtual_devices=devices), tmp_path)
    whole = Trained(run_config(**config), tmp_path)
    # Evaluation uses the running statistics, so these agree as well.
    assert twin.values == pytest.approx(real.values, rel=1e-6)
    assert whole.values != pytest.approx(real.values, rel=1e-3)
    assert real.result["images_per_statistic"] == twin.result["images_per_statistic"] == 24 // devices
    assert real.result["device_batch"] == 24 // devices
    assert whole.result["images_per_statistic"] == 24


@pytest.mark.slow
def test_accumulation_on_two_devices(tmp_path: Path) -> None:
    """Batch norm sees a part of a part: 24 images over 2 devices and 3 accumulated batches are 4 at a time."""
    config = options("batch") | {"trainer__accumulate_grad_batches": 3}
    real = Trained(run_config(**config, trainer__devices=2), tmp_path)
    twin = Trained(run_config(**config, trainer__virtual_devices=2), tmp_path)
    assert twin.values == pytest.approx(real.values, rel=1e-6)
    assert real.result["images_per_statistic"] == 4


@pytest.mark.slow
@pytest.mark.parametrize("parts", [1, 2])
def test_a_norm_of_the_past_is_on_two_devices_what_virtual_devices_compute(parts: int, tmp_path: Path) -> None:
    """However often it is validated, which gives all processes the buffers of one."""
    config = options("online_norm") | {"trainer__accumulate_grad_batches": parts}
    real, often = (
        Trained(run_config(**config, trainer__devices=2, trainer__validations=count), tmp_path) for count in (1, 5)
    )
    twin = Trained(run_config(**config, trainer__virtual_devices=2, trainer__validations=1), tmp_path)
    assert twin.values == pytest.approx(real.values, rel=1e-6)
    assert often.result["metrics"] == real.result["metrics"]


def end_a_rank(root: Path, number: int, ended: list[int]) -> None:
    """Sends a rank a signal once the run has a checkpoint."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and not list(root.glob("*/checkpoint.ckpt")):
        time.sleep(0.01)
    for child in psutil.Process(os.getpid()).children():
        if "spawn_main" in " ".join(child.cmdline()):
            ended.append(child.pid)
            os.kill(child.pid, number)
            return


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_an_ended_rank_costs_nothing(number: int, tmp_path: Path) -> None:
    config = run_config(**options("batch"), budget__steps=400, trainer__checkpoints=40, trainer__devices=2)
    undisturbed = Trained(config, tmp_path / "undisturbed")
    ended: list[int] = []
    ender = threading.Thread(target=end_a_rank, args=(tmp_path / "disturbed", number, ended))
    ender.start()
    disturbed = Trained(config, tmp_path / "disturbed")
    ender.join()
    assert ended, "no rank was ended: the run was too short for this test"
    assert disturbed.result["metrics"] == undisturbed.result["metrics"]
    assert disturbed.values == undisturbed.values


@pytest.mark.parametrize(
    ("norm", "devices", "accumulate", "expected"),
    [("batch", 4, 1, 6), ("sync_batch", 4, 1, 24), ("layer", 4, 1, 1), ("none", 4, 1, 0), ("batch", 2, 3, 4)],
)
def test_images_per_statistic(norm: str, devices: int, accumulate: int, expected: int) -> None:
    config = resolve(
        run_config(model__norm=norm, trainer__devices=devices, trainer__accumulate_grad_batches=accumulate)
    )
    assert images_per_statistic(config) == expected
    assert device_batch(config) == 24 // devices // accumulate


def test_a_batch_that_does_not_divide_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"data.batch_size=24 .* trainer.devices x trainer.num_nodes=5"):
        execute(run_config(trainer__devices=5), tmp_path)


def test_the_error_of_a_rank_reaches_the_caller(tmp_path: Path) -> None:
    plugin = tmp_path / "broken.py"
    plugin.write_text(
        "from normbench import register_norm\n"
        "import os\n"
        "@register_norm('broken')\n"
        "def broken(num_channels):\n"
        "    from torch import nn\n"
        "    class Broken(nn.Module):\n"
        "        def forward(self, x):\n"
        "            if 'LOCAL_RANK' in os.environ:  # not where the norm is measured\n"
        "                raise RuntimeError('this norm is broken')\n"
        "            return x\n"
        "    return Broken()\n"
    )
    config = run_config(model__norm="broken", trainer__devices=2, plugins=[str(plugin)])
    with pytest.raises(RuntimeError, match="this norm is broken"):
        Trained(config, tmp_path)


def test_virtual_devices_leave_other_norms_alone(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    whole = Trained(run_config(model__norm="layer"), tmp_path)
    parts = Trained(run_config(model__norm="layer", trainer__virtual_devices=4), tmp_path)
    assert whole.result["metrics"] == parts.result["metrics"]
