"""What a run leaves: its folder, its result, its clock and when it validates."""

import csv
import json
import math
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import nn

from normbench import register_model
from normbench.errors import UsageError
from normbench.spec import from_dict, read_yaml, resolve, run_id
from normbench.spec.registry import CALLBACKS, MODELS
from normbench.train import train
from normbench.train.callbacks import register_callback
from normbench.train.module import NormClassifier

from .runs import Cut, curve, folder_of, losses, tiny, trained


def test_what_a_folder_holds(tmp_path: Path) -> None:
    config = tiny(**{"trainer.virtual_devices": 4})
    result = trained(config, tmp_path)
    folder = folder_of(config, tmp_path)
    assert {path.name for path in folder.iterdir()} == {"config.yaml", "metrics.csv", "result.json"}

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
    ran = {"precision": "32-true", "threads": 1, "deterministic": True, "tf32": False, "accelerator": "cpu", "processes": 1}
    assert environment.items() >= ran.items()
    assert not {"user", "host", "hostname", "node"} & environment.keys()


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
        train(tiny(), tmp_path / "mine")


def test_a_configuration_starts_an_equal_run(tmp_path: Path) -> None:
    config = tiny()
    result = trained(config, tmp_path / "one")
    again = from_dict(read_yaml(folder_of(config, tmp_path / "one") / "config.yaml", "configuration"))
    assert trained(again, tmp_path / "two")["metrics"] == result["metrics"]


# When it validates, and how often it notes its loss.


@pytest.mark.parametrize(
    ("changes", "at"),
    [
        ({"trainer.validations": 5, "budget.steps": 12}, [3, 5, 8, 10, 12]),
        ({"trainer.validations": 5, "budget.steps": 12, "trainer.accumulate_grad_batches": 2}, [3, 5, 8, 10, 12]),
        ({"trainer.validations": 7, "budget.steps": 3}, [1, 2, 3]),
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
    config = tiny(**{"trainer.loss_points": 1_000, "budget.steps": 7})
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
    result = trained(config, tmp_path)
    slept = 2 * 0.5 + (4 + 2 + 6 + 5) * 0.1
    assert result["wall_seconds"] > slept
    assert result["seconds"] < result["wall_seconds"] - slept
    assert result["seconds"] < 0.9
    assert result["samples_per_second"] == pytest.approx(22 * 32 / result["seconds"])
    with (folder_of(config, tmp_path) / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert float(rows[-1]["seconds"]) == pytest.approx(result["seconds"], abs=1e-3), "one clock"
    seconds = [float(row["seconds"]) for row in rows]
    assert seconds == sorted(seconds)


# Other ways to run.


@pytest.mark.parametrize("precision", ["32-true", "64-true"])
def test_memory_layout_does_not_change_what_is_computed(tmp_path: Path, precision: str) -> None:
    """Only the order of additions differs, and in 24 steps rounding grows: in float64 nothing of it is left."""
    found = []
    for channels_last in (True, False):
        config = tiny(**{"trainer.channels_last": channels_last, "trainer.precision": precision, "trainer.loss_points": 24})
        trained(config, tmp_path)
        found.append(losses(folder_of(config, tmp_path)))
    if precision == "32-true":
        assert found[0][0] == pytest.approx(found[1][0], rel=1e-6)
    else:
        assert found[0] == found[1], "seven digits in metrics.csv"


def test_layouts_are_different_runs(tmp_path: Path) -> None:
    ids = {run_id(resolve(tiny(**{"trainer.channels_last": layout}))) for layout in (True, False)}
    assert len(ids) == 2


def test_mixed_precision_computes_as_autocast_does(tmp_path: Path) -> None:
    """The first loss is exactly that of a forward pass under torch's own autocast, and not that of float32."""
    first = {}
    batches: list[Any] = []

    class Catch(pl.Callback):
        def on_train_batch_start(self, trainer: pl.Trainer, module: Any, batch: Any, batch_idx: int) -> None:
            if trainer.global_step == 0:
                batches.append((module.net.state_dict(), batch, module))
                batches[-1] = ({k: v.clone() for k, v in batches[-1][0].items()}, batch, module)

    for precision in ("bf16-mixed", "32-true"):
        config = tiny(**{"trainer.precision": precision, "trainer.loss_points": 24})
        result = trained(config, tmp_path, callbacks=[Catch()])
        assert result["environment"]["precision"] == precision
        first[precision] = losses(folder_of(config, tmp_path))[0]
    state, (images, labels), module = batches[0]
    module.net.load_state_dict(state)
    module.train()
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        expected = nn.functional.cross_entropy(module(images), labels)
    assert first["bf16-mixed"] == float(f"{expected.item():.7g}")
    assert first["bf16-mixed"] != first["32-true"]


@pytest.mark.parametrize("norm", ["none", "batch", "sync_batch", "ghost", "layer", "instance", "group"])
def test_every_norm_trains(tmp_path: Path, norm: str) -> None:
    options = {"group": {"groups": 4}, "ghost": {"size": 8}}.get(norm, {})
    result = trained(tiny(**{"model.norm": norm, "model.norm_options": options, "budget.steps": 48}), tmp_path)
    assert result["metrics"]["test_accuracy"] > 0.3


def test_fast_dev_run_runs_so_many_batches(tmp_path: Path) -> None:
    result = trained(tiny(**{"trainer.fast_dev_run": 2}), tmp_path)
    assert result["steps"] == 2
    assert result["metrics"]["test_accuracy"] is not None
    assert result["metrics"]["val_accuracy"] is not None


class Images(pl.Callback):
    """The images of every batch that was trained on or validated."""

    def __init__(self) -> None:
        self.trained: list[bytes] = []
        self.validated = 0

    def on_train_batch_start(self, trainer: pl.Trainer, module: Any, batch: Any, batch_idx: int) -> None:
        self.trained.append(batch[0].contiguous().numpy().tobytes())

    def on_validation_batch_end(self, trainer: pl.Trainer, module: Any, outputs: Any, batch: Any, *rest: Any) -> None:
        self.validated += len(batch[1])


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("batches", [1, 3])
def test_overfitting_trains_on_the_same_batches_over_and_over(tmp_path: Path, batches: int, parts: int) -> None:
    seen = Images()
    config = tiny(
        **{"trainer.overfit_batches": batches, "trainer.accumulate_grad_batches": parts, "budget.steps": 12}
    )
    trained(config, tmp_path, callbacks=[seen])
    assert len(seen.trained) == 12 * parts
    assert len(set(seen.trained)) == batches * parts
    assert seen.trained == seen.trained[: batches * parts] * (12 // batches)
    assert seen.validated == 2 * 500, "validated on all images"


def test_overfitting_a_batch_lowers_its_loss(tmp_path: Path) -> None:
    config = tiny(**{"trainer.overfit_batches": 1, "budget.steps": 80, "trainer.loss_points": 8})
    trained(config, tmp_path)
    found = losses(folder_of(config, tmp_path))
    assert found[-1] < 0.2 * found[0]


def test_a_plug_ins_callback_takes_part(tmp_path: Path) -> None:
    seen: list[int] = []

    @register_callback("watch")
    class Watch(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, *rest: Any) -> None:
            seen.append(trainer.global_step)

    try:
        plain = trained(tiny(), tmp_path)
        result = trained(tiny(**{"trainer.callbacks": ["watch"]}), tmp_path)
    finally:
        CALLBACKS.remove("watch")
    assert seen == list(range(1, 25))
    assert result["metrics"] == plain["metrics"]
    assert result["run_id"] != plain["run_id"], "a callback may change the run"


def test_one_value_for_each_statistic_is_named_where_layers_are_not_known(tmp_path: Path) -> None:
    @register_model("opaque")
    def opaque(image: Any, classes: int) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(784, 10), nn.BatchNorm1d(10))

    try:
        from normbench.spec import run_config

        keys = {"data.name": "mnist_5k", "data.batch_size": 1, "model.name": "opaque", "budget.steps": 3}
        with pytest.raises(UsageError, match=r"norm 'batch' has one value for each statistic .*: choose a larger"):
            trained(run_config({**keys, "trainer.accelerator": "cpu"}), tmp_path)
    finally:
        MODELS.remove("opaque")


def test_configurations_are_not_changed_by_training(tmp_path: Path) -> None:
    config = tiny()
    before = run_id(resolve(config))
    trained(config, tmp_path)
    assert run_id(resolve(config)) == before


@pytest.mark.parametrize("rule", ["he_normal", "xavier_uniform", "normal"])
def test_initialisation_is_a_setting(tmp_path: Path, rule: str) -> None:
    extra = {"model.init_std": 0.05} if rule == "normal" else {}
    result = trained(tiny(**{"model.init": rule, "model.init_bias": 0.0, **extra}), tmp_path)
    assert math.isfinite(result["metrics"]["test_nll"])
    assert result["metrics"]["test_nll"] != trained(tiny(), tmp_path)["metrics"]["test_nll"]


def test_accumulated_parts_start_as_virtual_devices_do(tmp_path: Path) -> None:
    """Batch norm's first loss: the mean over parts of 8 images is the same sum in another order."""
    found = []
    for key in ("trainer.accumulate_grad_batches", "trainer.virtual_devices"):
        config = tiny(**{key: 4, "trainer.loss_points": 24, "trainer.precision": "64-true"})
        result = trained(config, tmp_path)
        assert result["images_per_statistic"] == 8
        found.append(losses(folder_of(config, tmp_path)))
    assert found[0] == found[1], "in float64, to the seven digits of metrics.csv"
