"""Run folders that are written, not trained: known numbers go in, and must come out."""

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from normbench.store import RunFolder, Store
from normbench.store.columns import CURVE_COLUMNS

Cells = dict[str, Mapping[str, Any]]
NOISE = (0.0, 0.002, -0.001)


def run_result(run_id: str, norm: str = "batch", batch_size: int = 32, seed: int = 0, **more: Any) -> dict[str, Any]:
    """A result as training writes it."""
    metrics = {
        f"{split}_{name}": value
        for split in ("val", "test")
        for name, value in (("accuracy", 0.97), ("nll", 0.06), ("calibration_error", 0.01))
    }
    base: dict[str, Any] = {
        "run_id": run_id,
        "config": {
            "data": {"name": "mnist", "batch_size": batch_size},
            "model": {"name": "digit_cnn", "norm": norm},
            "optimizer": {"name": "sgd", "lr": 0.05},
            "seed": seed,
        },
        "dataset": {"name": "mnist", "md5": {"images": "6bbc9ace"}},
        "metrics": {**metrics, "train_loss": 0.03},
        "diverged_at_step": None,
        "steps": 20,
        "samples": 20 * batch_size,
        "lr": 0.05,
        "parameters": 421_834,
        "devices": 1,
        "virtual_devices": 1,
        "device_batch": batch_size,
        "images_per_statistic": {"none": 0, "batch": batch_size}.get(norm, 1),
        "values_per_statistic": {"none": 0}.get(norm, batch_size),
        "seconds": 10.0 + seed,
        "samples_per_second": 2000.0,
        "wall_seconds": 12.0,
        "code_digest": "d1gest",
        "environment": {"git_commit": "c0ffee", "device": "cpu", "torch": "2.6.0"},
    }
    return base | more


def write_curve(folder: RunFolder, points: int = 8, loss: float = 0.06) -> None:
    """metrics.csv of a run: losses, and an accuracy at every fourth."""
    lines = [",".join(CURVE_COLUMNS)]
    for i in range(1, points + 1):
        lines.append(f"{i},{32 * i},{i / 8},{i}.0,train,loss,{loss * 8 / i:.7g}")
        if i % 4 == 0:
            lines.append(f"{i},{32 * i},{i / 8},{i}.0,validation,accuracy,{0.1 * i}")
    folder.path.mkdir(parents=True, exist_ok=True)
    folder.metrics_path.write_text("\n".join(lines) + "\n")


def run_name(number: int) -> str:
    """Sixteen hexadecimal digits."""
    return f"{number:016x}"


class Lab:
    """A store with the runs of a study of three norms, two batch sizes and three seeds."""

    def __init__(self, root: Path) -> None:
        self.store, self.cells = Store(root), Cells()
        grid = itertools.product(("none", "batch", "group"), (8, 32), range(3))
        for number, (norm, batch_size, seed) in enumerate(grid):
            run_id = run_name(number)
            self.cells[run_id] = {"model.norm": norm, "data.batch_size": batch_size}
            result = run_result(run_id, norm, batch_size, seed)
            accuracy = {"none": 0.90, "batch": 0.97, "group": 0.968}[norm] + NOISE[seed]
            result["metrics"] |= {"test_accuracy": accuracy, "test_nll": 2 * (1 - accuracy)}
            if (norm, batch_size, seed) == ("none", 32, 2):
                result |= {"metrics": dict.fromkeys(result["metrics"]), "diverged_at_step": 7}
            folder = self.store.folder(run_id)
            write_curve(folder, loss=2 * (1 - accuracy))
            folder.write_result(result)

    @property
    def ids(self) -> list[str]:
        return list(self.cells)

    def find(self, norm: str, batch_size: int, seed: int) -> str:
        """Id of a run."""
        cell = {"model.norm": norm, "data.batch_size": batch_size}
        return [run_id for run_id in self.ids if self.cells[run_id] == cell][seed]


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path / "runs")


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids of the runs whose result was opened."""
    names: list[str] = []
    original = RunFolder._read

    def read(folder: RunFolder) -> Any:
        if folder.id not in names:
            names.append(folder.id)
        return original(folder)

    monkeypatch.setattr(RunFolder, "_read", read)
    return names
