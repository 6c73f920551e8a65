"""What a run leaves: its folder, its result, its clock and when it validates."""

import csv
import dataclasses
import json
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch

from normbench.data.module import MNISTDataModule
from normbench.errors import UsageError
from normbench.launch.ranks import execute
from normbench.spec import from_dict, read_yaml, replace, resolve, run_id
from normbench.store.predictions import read_predictions
from normbench.train import train
from normbench.train.module import NormClassifier

from .runs import Cut, curve, folder_of, tiny, trained


def test_what_a_folder_holds(tmp_path: Path) -> None:
    config = tiny(**{"trainer.virtual_devices": 4})
    result = trained(config, tmp_path)
    folder = folder_of(config, tmp_path)
    assert {path.name for path in folder.iterdir()} == {
        "config.yaml",
        "metrics.csv",
        "result.json",
        "test_predictions.npz",
    }

    written = from_dict(read_yaml(folder / "config.yaml", "configuration"))
    assert written == resolve(config), "fully resolved"
    assert json.loads((folder / "result.json").read_text()) == result

    with (folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["step", "samples", "epoch", "seconds", "split", "metric", "value"]
    points = [(int(row["step"]), row["split"], row["metric"]) for row in rows]
    metrics = ("accuracy", "calibration_error", "nll")
    assert [step for step, split, _ in points if split == "train"] == [4, 8, 12, 16, 20, 24]
    for split, at in (("validation", [12, 24]), ("test", [24])):
        found = [(step, metric) for step, where, metric in points if where == split]
        assert sorted(found) == [(step, metric) for step in at for metric in metrics]
    assert all(int(row["samples"]) == 32 * int(row["step"]) for row in rows)
    assert all(float(row["epoch"]) == pytest.approx(int(row["step"]) / 16, abs=1e-4) for row in rows)
    last = {f"{row['split']}_{row['metric']}": float(row["value"]) for row in rows}
    assert result["metrics"]["test_accuracy"] == last["test_accuracy"]
    assert result["metrics"]["val_nll"] == last["validation_nll"]


def test_what_a_result_says(tmp_path: Path) -> None:
    config = tiny(**{"trainer.virtual_devices": 4, "optimizer.lr_scaling": "linear", "data.batch_size": 64})
    result = trained(config, tmp_path)
    assert result["run_id"] == run_id(resolve(config))
    assert from_dict(result["config"]) == resolve(config)
    data = result["dataset"]
    assert (data["name"], data["train"], data["validation"], data["test"]) == ("mnist_5k", 512, 500, 1_000)
    assert set(result["metrics"]) == {
        *(f"{split}_{metric}" for split in ("val", "test") for metric in ("accuracy", "nll", "calibration_error")),
        "train_loss",
    }
    assert result["diverged_at_step"] is None
    assert (result["steps"], result["samples"], result["epochs"]) == (24, 24 * 64, 3.0)
    assert (result["devices"], result["virtual_devices"], result["device_batch"]) == (1, 4, 16)
    assert result["images_per_statistic"] == 16
    assert result["lr"] == pytest.approx(0.1)
    assert result["parameters"] == 4 * 9 + 8 + 8 * 4 * 9 + 16 + 8 * 49 * 16 + 16 + 16 * 10 + 10
    assert 0 < result["seconds"] < result["wall_seconds"]
    environment = result["environment"]
    assert environment["torch"] == version("torch")
    assert {"python", "normbench", "lightning", "git_commit", "code", "processor", "device"} <= environment.keys()
    ran = {"precision": "32-true", "threads": 1, "deterministic": True, "tf32": False, "processes": 1}
    assert environment.items() >= ran.items()
    assert not {"user", "host", "hostname", "node"} & environment.keys()


@pytest.mark.parametrize("devices", [1, 3])
def test_what_it_says_of_every_test_image(tmp_path: Path, devices: int) -> None:
    """As the kept weights do, in the order of the data set; three processes have 334, 333 and 333 of the images."""
    config = tiny(**{"trainer.devices": devices, "data.batch_size": 48, "trainer.keep": "last", "budget.steps": 12})
    result = execute(config, folder_of(config, tmp_path))
    found = read_predictions(folder_of(config, tmp_path))
    assert found is not None
    module = NormClassifier.load_from_checkpoint(folder_of(config, tmp_path) / "weights.ckpt", weights_only=True).eval()
    data = MNISTDataModule.from_config(config.data, 0)
    data.setup()
    images, labels = data.batch(data.split("test"), torch.arange(1_000))
    with torch.no_grad():
        classes = module(images).argmax(-1).numpy()
    assert found.classes.dtype == np.uint8
    assert (found.classes == classes).mean() > 0.998, "rounding may decide a tie"
    assert (found.correct == (found.classes == labels.numpy())).all()
    assert found.correct.mean() == pytest.approx(result["metrics"]["test_accuracy"], abs=1e-6)


def test_a_few_batches_leave_no_predictions(tmp_path: Path) -> None:
    config = tiny(**{"trainer.fast_dev_run": 1})
    trained(config, tmp_path)
    assert read_predictions(folder_of(config, tmp_path)) is None


def test_the_result_comes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny()
    folder = folder_of(config, tmp_path)

    def no_test(self: pl.Trainer, *args: Any, **options: Any) -> None:
        assert not (folder / "result.json").exists()
        raise Cut

    monkeypatch.setattr(pl.Trainer, "test", no_test)
    with pytest.raises(Cut):
        trained(config, tmp_path)
    assert {path.name for path in folder.iterdir()} == {"config.yaml", "metrics.csv", "checkpoint.ckpt"}


def test_a_folder_of_another_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not that of run"):
        train(tiny(), tmp_path / ("0" * 16))
    assert train(tiny(), tmp_path / "mine")["run_id"] == run_id(resolve(tiny())), "a name of one's own says no id"


def test_a_configuration_starts_an_equal_run(tmp_path: Path) -> None:
    config = tiny()
    result = trained(config, tmp_path / "one")
    again = from_dict(read_yaml(folder_of(config, tmp_path / "one") / "config.yaml", "configuration"))
    assert trained(again, tmp_path / "two")["metrics"] == result["metrics"]


def test_a_fall_back_is_a_run_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the result says, and the run's id, are those of the data that was really used."""
    config = tiny(**{"data.name": "mnist", "data.train_samples": None, "budget.steps": None, "budget.epochs": 1})
    config = replace(config, {"data.train_samples": None})
    monkeypatch.setattr("normbench.data.source.ensure", lambda data: "mnist_5k")
    with pytest.raises(UsageError, match="is not that of run"):
        train(config, tmp_path / run_id(resolve(config)))
    used = replace(config, {"data.name": "mnist_5k"})
    result = train(config, folder_of(used, tmp_path))
    assert result["dataset"]["name"] == result["config"]["data"]["name"] == "mnist_5k"
    assert (result["steps"], result["epochs"]) == (3_500 // 32, 1.0), "an epoch is one of the images there are"


# When it validates, and how often it notes its loss.


@pytest.mark.parametrize(
    ("changes", "at"),
    [
        ({"trainer.validations": 5, "budget.steps": 12}, [3, 5, 8, 10, 12]),
        ({"trainer.validations": 5, "budget.steps": 12, "trainer.accumulate_grad_batches": 2}, [3, 5, 8, 10, 12]),
        ({"trainer.validations": 5, "budget.steps": 3}, [1, 2, 3]),
        ({"trainer.validations": 1, "budget.steps": 18}, [18]),
        ({"trainer.validations": 0}, []),
        ({"data.validation": 0}, []),
    ],
)
def test_validations_are_as_many_as_asked_for(tmp_path: Path, changes: dict[str, Any], at: list[int]) -> None:
    config = tiny(**{"data.train_samples": 160, **changes})  # five steps an epoch
    result = trained(config, tmp_path)
    rows = curve(folder_of(config, tmp_path))
    assert sorted({int(row["step"]) for row in rows if row["split"] == "validation"}) == at
    assert sum(row["split"] == "validation" for row in rows) == 3 * len(at)
    assert ("val_accuracy" in result["metrics"]) == bool(at)
    assert result["metrics"]["test_accuracy"] is not None


def test_validating_changes_no_other_number(tmp_path: Path) -> None:
    results = [trained(tiny(**{"trainer.validations": count}), tmp_path) for count in (0, 5, 24)]
    assert len({result["metrics"]["test_nll"] for result in results}) == 1
    assert len({result["metrics"]["train_loss"] for result in results}) == 1


def test_more_loss_points_than_steps_are_one_a_step(tmp_path: Path) -> None:
    config = tiny(**{"trainer.loss_points": 50, "budget.steps": 7})  # by default; 51 would be refused
    trained(config, tmp_path)
    points = [int(row["step"]) for row in curve(folder_of(config, tmp_path)) if row["split"] == "train"]
    assert points == list(range(1, 8))


# The clock.


def test_the_clock_leaves_out_evaluation_checkpoints_probes_and_warm_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from normbench.probes.layers import Layers
    from normbench.train.callbacks import recorder

    step, evaluate, measure, save = (
        NormClassifier.training_step,
        NormClassifier._evaluate,
        Layers.measure,
        recorder.save,
    )

    def slow_start(self: NormClassifier, batch: Any, batch_idx: int) -> Any:
        time.sleep(0.5 if self.global_step < 2 else 0)  # 24 steps: the first two warm up
        return step(self, batch, batch_idx)

    def slow(call: Any) -> Any:
        def wrapped(*args: Any, **options: Any) -> Any:
            time.sleep(0.1)
            return call(*args, **options)

        return wrapped

    monkeypatch.setattr(NormClassifier, "training_step", slow_start)
    monkeypatch.setattr(NormClassifier, "_evaluate", slow(evaluate))
    monkeypatch.setattr(Layers, "measure", slow(measure))
    monkeypatch.setattr(recorder, "save", slow(save))
    config = tiny(**{"trainer.validations": 4, "probes": {"layers": {"times": 6}}, "trainer.checkpoints": 6})
    config = dataclasses.replace(config, trainer=dataclasses.replace(config.trainer, steps_per_execution=1))
    result = trained(config, tmp_path)
    slept = 2 * 0.5 + (4 + 2 + 6 + 5) * 0.1
    assert result["wall_seconds"] > slept
    assert result["seconds"] < result["wall_seconds"] - slept
    assert result["samples_per_second"] == pytest.approx(22 * 32 / result["seconds"])
    with (folder_of(config, tmp_path) / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert float(rows[-1]["seconds"]) == pytest.approx(result["seconds"], abs=1e-3), "one clock"
    seconds = [float(row["seconds"]) for row in rows]
    assert seconds == sorted(seconds)
