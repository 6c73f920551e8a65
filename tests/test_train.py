"""One run from its configuration to its result: repeatable, resumable, timed and measured as it says."""

import csv
import json
import math
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
import yaml
from lightning.pytorch.cli import LightningCLI
from torch import nn

from normbench.data import MNISTDataModule
from normbench.data.source import get_dataset
from normbench.errors import UsageError
from normbench.models import MODELS, register_model
from normbench.spec.resolve import resolve
from normbench.spec.schema import ModelConfig, OptimizerConfig, RunConfig, from_dict, replace, run_id
from normbench.train.module import NormClassifier, learning_rate, lr_factor
from normbench.train.run import train

from .conftest import TinyConfig


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


def cut_at(step: int) -> Any:
    def progress(now: int) -> None:
        if now == step:
            raise Cut

    return progress


# Repeating and resuming.


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"model.norm": "ghost", "model.norm_options": {"size": 8}, "model.dropout": 0.5, "optimizer.name": "adam"},
        {"model.name": "mlp", "model.channels": None, "model.stride": None, "model.pool": None, "seed": 3},
    ],
)
def test_a_run_repeats_bit_by_bit(tiny_config: TinyConfig, tmp_path: Path, changes: dict[str, Any]) -> None:
    torch.manual_seed(1)
    one = train(tiny_config(**changes), tmp_path / "one")
    torch.manual_seed(2)
    other = train(tiny_config(**changes), tmp_path / "other")
    assert lasting(one) == lasting(other)
    assert curve(tmp_path / "one") == curve(tmp_path / "other")
    assert one["metrics"]["test_accuracy"] > 0.2, "it learns, too"


def test_seeds_give_different_runs(tiny_config: TinyConfig, tmp_path: Path) -> None:
    results = [train(tiny_config(seed=seed), tmp_path / str(seed)) for seed in (0, 1)]
    assert results[0]["metrics"] != results[1]["metrics"]


RESUMED: dict[str, dict[str, Any]] = {
    "sgd": {},
    "adam, dropout, cosine": {"optimizer.name": "adam", "model.dropout": 0.5, "optimizer.schedule": "cosine"},
    "accumulation": {"trainer.accumulate_grad_batches": 2, "model.dropout": 0.3, "optimizer.warmup_steps": 5},
}


@pytest.mark.parametrize("changes", RESUMED.values(), ids=RESUMED)
def test_a_cut_run_ends_as_an_undisturbed_one(tiny_config: TinyConfig, tmp_path: Path, changes: dict[str, Any]) -> None:
    # Six steps an epoch; validations at 10 and 20; points at every third step; checkpoints wherever they may be.
    config = tiny_config(
        **{"data.train_samples": 200, "budget.steps": 20, "trainer.checkpoints": 20, "trainer.loss_points": 6} | changes
    )
    undisturbed = train(config, tmp_path / "undisturbed")
    for step in (1, 2, 6, 7, 8, 10, 11, 12, 13, 19, 20):
        folder = tmp_path / f"cut at {step}"
        with pytest.raises(Cut):
            train(config, folder, cut_at(step))
        assert (folder / "checkpoint.ckpt").exists() == (step > 1)
        assert not (folder / "result.json").exists()
        steps: list[int] = []
        resumed = train(config, folder, steps.append)
        assert steps[0] > 1 or step == 1, "it goes on, it does not begin again"
        assert lasting(resumed) == lasting(undisturbed), step
        assert curve(folder) == curve(tmp_path / "undisturbed"), step


def test_a_run_that_is_cut_again_and_again(tiny_config: TinyConfig, tmp_path: Path) -> None:
    config = tiny_config(**{"data.train_samples": 200, "budget.steps": 20, "trainer.checkpoints": 20})
    undisturbed = train(config, tmp_path / "undisturbed")
    for step in (4, 7, 12, 17):
        with pytest.raises(Cut):
            train(config, tmp_path / "cut", cut_at(step))
    assert lasting(train(config, tmp_path / "cut")) == lasting(undisturbed)
    assert curve(tmp_path / "cut") == curve(tmp_path / "undisturbed")


def test_the_number_of_checkpoints_changes_nothing(tiny_config: TinyConfig, tmp_path: Path) -> None:
    results = []
    for count in (0, 1, 24):
        results.append(train(tiny_config(**{"trainer.checkpoints": count}), tmp_path / str(count)))
        assert not (tmp_path / str(count) / "checkpoint.ckpt").exists()
    assert results[0]["metrics"] == results[1]["metrics"] == results[2]["metrics"]
    assert len({result["run_id"] for result in results}) == 1


# The folder.


def test_what_a_folder_holds(tiny_config: TinyConfig, tmp_path: Path) -> None:
    config = tiny_config(**{"trainer.virtual_devices": 4})
    result = train(config, tmp_path / "run")
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"config.yaml", "metrics.csv", "result.json"}

    written = from_dict(yaml.safe_load((tmp_path / "run" / "config.yaml").read_text()))
    assert written == resolve(config), "fully resolved"
    assert json.loads((tmp_path / "run" / "result.json").read_text()) == result

    with (tmp_path / "run" / "metrics.csv").open(newline="") as file:
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


def test_what_a_result_says(tiny_config: TinyConfig, tmp_path: Path, digits: str) -> None:
    config = tiny_config(**{"trainer.virtual_devices": 4, "optimizer.lr_scaling": "linear", "data.batch_size": 64})
    result = train(config, tmp_path)
    counts = {"mnist": (5_000, 10_000), "mnist_5k": (500, 1_000)}[digits]
    assert result["run_id"] == run_id(resolve(config))
    assert from_dict(result["config"]) == resolve(config)
    data = result["dataset"]
    assert (data["name"], data["train"], data["validation"], data["test"]) == (digits, 512, *counts)
    if digits == "mnist":
        assert list(data["md5"].values()) == list(get_dataset("mnist").md5)
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
    assert {"python", "normbench", "lightning", "git_commit", "processor", "threads", "device"} <= environment.keys()
    assert not {"user", "host", "hostname", "node"} & environment.keys()


def test_the_result_comes_last(tiny_config: TinyConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_test(self: pl.Trainer, *args: Any, **options: Any) -> None:
        assert not (tmp_path / "result.json").exists()
        raise Cut

    monkeypatch.setattr(pl.Trainer, "test", no_test)
    with pytest.raises(Cut):
        train(tiny_config(), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"config.yaml", "metrics.csv", "checkpoint.ckpt"}


def test_without_a_network_a_run_is_one_of_the_embedded_digits(
    tiny_config: TinyConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """What the result says, and the run's id, are those of the data that was really used."""
    monkeypatch.delenv("NORMBENCH_DATA_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    config = tiny_config(**{"data.name": "mnist", "data.train_samples": None, "budget.epochs": 1})
    result = train(config, tmp_path / "run")
    assert capfd.readouterr().err.count("warning: mnist is neither") == 1
    assert result["dataset"]["name"] == result["config"]["data"]["name"] == "mnist_5k"
    assert result["run_id"] == run_id(resolve(replace(config, {"data.name": "mnist_5k"})))
    assert (result["steps"], result["epochs"]) == (3_500 // 32, 1.0), "an epoch is one of the images there are"
    with pytest.raises(Exception, match="neither in"):
        train(replace(config, {"data.allow_embedded": False}), tmp_path / "strict")


# Divergence and the clock.


def test_a_diverged_run_is_a_result(tiny_config: TinyConfig, tmp_path: Path) -> None:
    config = tiny_config(**{"optimizer.lr": 1e12, "model.norm": "none", "trainer.loss_points": 24})
    result = train(config, tmp_path)
    written = json.loads((tmp_path / "result.json").read_text())
    assert written == result
    at = result["diverged_at_step"]
    assert 1 < at <= 24
    assert result["steps"] == at, "with a point at every step it stops at once"
    assert set(result["metrics"].values()) == {None}
    assert "test_accuracy" in result["metrics"]
    assert not math.isfinite(losses(tmp_path)[-1])
    assert all(math.isfinite(loss) for loss in losses(tmp_path)[:-1])


def test_divergence_between_two_points_is_dated_to_its_step(tiny_config: TinyConfig, tmp_path: Path) -> None:
    changes = {"optimizer.lr": 1e12, "model.norm": "none"}
    exact = train(tiny_config(**changes, **{"trainer.loss_points": 24}), tmp_path / "exact")
    for extra in ({"trainer.loss_points": 2}, {"trainer.loss_points": 2, "trainer.accumulate_grad_batches": 4}):
        coarse = train(tiny_config(**changes, **extra), tmp_path / str(extra))
        assert coarse["diverged_at_step"] == exact["diverged_at_step"]
        assert coarse["steps"] == 12


def test_the_clock_leaves_out_evaluation_and_warm_up(
    tiny_config: TinyConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import time

    step, evaluate = NormClassifier.training_step, NormClassifier._evaluate

    def slow_start(self: NormClassifier, batch: Any, batch_idx: int) -> Any:
        time.sleep(0.5 if self.global_step < 2 else 0)  # 24 steps: the first two warm up
        return step(self, batch, batch_idx)

    def slow_evaluation(self: NormClassifier, stage: str, batch: Any) -> None:
        time.sleep(0.1)
        evaluate(self, stage, batch)

    monkeypatch.setattr(NormClassifier, "training_step", slow_start)
    monkeypatch.setattr(NormClassifier, "_evaluate", slow_evaluation)
    result = train(tiny_config(**{"data.name": "mnist_5k", "trainer.validations": 4}), tmp_path)
    slept = 2 * 0.5 + (4 * 1 + 2) * 0.1
    assert result["wall_seconds"] > slept
    assert result["seconds"] < result["wall_seconds"] - slept
    assert result["seconds"] < 0.9
    assert result["samples_per_second"] == pytest.approx(22 * 32 / result["seconds"])


# What moves the weights.


class Watch(pl.Callback):
    """Learning rates and gradients of every step."""

    def __init__(self) -> None:
        self.rates: list[float] = []

    def on_train_batch_start(self, trainer: pl.Trainer, *args: Any) -> None:
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])


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


TINY = ModelConfig(name="cnn", norm="batch", channels=[4], stride=4, pool="none", hidden=[])


def rates(config: OptimizerConfig, batch_size: int = 32, **options: Any) -> list[float]:
    watch = Watch()
    data = MNISTDataModule("mnist_5k", batch_size=batch_size, train_samples=320)
    plain_trainer(callbacks=[watch], **options).fit(NormClassifier(TINY, config), datamodule=data)
    return watch.rates


@pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning")
@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ({}, [0.1] * 12),
        ({"warmup_steps": 4}, [0.025, 0.05, 0.075, *[0.1] * 9]),
        ({"schedule": "cosine"}, [0.05 * (1 + math.cos(math.pi * step / 12)) for step in range(12)]),
        (
            {"schedule": "cosine", "warmup_steps": 4},
            [0.025, 0.05, 0.075, 0.1, *[0.05 * (1 + math.cos(math.pi * step / 8)) for step in range(8)]],
        ),
        ({"schedule": "step", "step_every": 0.25}, [*[0.1] * 3, *[0.01] * 3, *[0.001] * 3, *[0.0001] * 3]),
        ({"schedule": "step", "step_every": 0.5, "step_factor": 0.5}, [*[0.1] * 6, *[0.05] * 6]),
    ],
)
def test_learning_rates_follow_the_schedule(name: str, schedule: dict[str, Any], expected: list[float]) -> None:
    assert rates(OptimizerConfig(name=name, lr=0.1, **schedule)) == pytest.approx(expected)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning")
def test_a_schedule_counts_optimizer_steps_not_accumulated_parts() -> None:
    found = rates(OptimizerConfig(lr=0.1, schedule="step", step_every=0.5), accumulate_grad_batches=2, max_steps=6)
    assert found == pytest.approx([*[0.1] * 6, *[0.01] * 6])


@pytest.mark.parametrize(("rule", "factor"), [("none", 1), ("sqrt", 2), ("linear", 4)])
def test_learning_rates_follow_the_batch(rule: str, factor: float, tiny_config: TinyConfig, tmp_path: Path) -> None:
    config = OptimizerConfig(lr=0.1, lr_scaling=rule, reference_batch=8)  # type: ignore[arg-type]
    assert learning_rate(config, 32) == pytest.approx(0.1 * factor)
    assert learning_rate(config, 8) == pytest.approx(0.1)
    assert rates(config)[0] == pytest.approx(0.1 * factor)
    # However a global batch is divided, it is one batch.
    parts = {"optimizer.lr": 0.1, "optimizer.lr_scaling": rule, "optimizer.reference_batch": 8, "budget.steps": 2}
    result = train(tiny_config(**parts, **{"trainer.accumulate_grad_batches": 4}), tmp_path)
    assert result["lr"] == pytest.approx(0.1 * factor)


def test_scaling_without_a_batch_size_is_named() -> None:
    with pytest.raises(UsageError, match="lr_scaling=linear needs the batch size: use MNISTDataModule, or lr_scaling"):
        learning_rate(OptimizerConfig(lr_scaling="linear"), None)
    assert learning_rate(OptimizerConfig(), None) == 0.05


def test_a_schedule_past_its_end_stays_there() -> None:
    assert lr_factor(OptimizerConfig(schedule="cosine"), 15, 10) == 0
    assert lr_factor(OptimizerConfig(warmup_steps=20), 9, 10) == 0.5


@pytest.mark.parametrize("algorithm", ["norm", "value"])
def test_gradients_are_clipped(
    tiny_config: TinyConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, algorithm: str
) -> None:
    seen: list[float] = []

    def look(self: NormClassifier, *args: Any) -> None:
        flat = torch.cat([p.grad.flatten() for p in self.net.parameters() if p.grad is not None])
        seen.append((flat.norm() if algorithm == "norm" else flat.abs().max()).item())

    monkeypatch.setattr(NormClassifier, "on_train_batch_end", look)
    clipped = {"trainer.gradient_clip_val": 0.01, "trainer.gradient_clip_algorithm": algorithm, "budget.steps": 5}
    train(tiny_config(**clipped), tmp_path)
    assert seen == pytest.approx([0.01] * 5, rel=1e-3)


@pytest.mark.parametrize("budget", [{"budget.epochs": 2}, {"budget.steps": 20}, {"budget.samples": 660}])
def test_budgets_are_kept(tiny_config: TinyConfig, tmp_path: Path, budget: dict[str, int]) -> None:
    result = train(tiny_config(**{"data.train_samples": 330, **budget}), tmp_path)  # 10 full batches an epoch
    assert (result["steps"], result["samples"], result["epochs"]) == (20, 640, 2.0)


@pytest.mark.parametrize("norm", ["none", "layer", "instance", "group"])
def test_accumulation_is_no_accumulation_for_norms_of_single_images(
    tiny_config: TinyConfig, tmp_path: Path, norm: str
) -> None:
    options = {"groups": 2} if norm == "group" else {}
    changes = {"model.norm": norm, "model.norm_options": options, "model.dropout": 0.3, "trainer.loss_points": 24}
    whole = train(tiny_config(**changes), tmp_path / "whole")
    parts = train(tiny_config(**changes, **{"trainer.accumulate_grad_batches": 4}), tmp_path / "parts")
    assert losses(tmp_path / "parts") == pytest.approx(losses(tmp_path / "whole"), rel=1e-2)
    assert parts["metrics"]["test_nll"] == pytest.approx(whole["metrics"]["test_nll"], rel=1e-2)
    assert (parts["steps"], parts["samples"]) == (whole["steps"], whole["samples"])


def test_accumulation_changes_the_statistics_of_batch_norm(tiny_config: TinyConfig, tmp_path: Path) -> None:
    whole = train(tiny_config(), tmp_path / "whole")
    parts = train(tiny_config(**{"trainer.accumulate_grad_batches": 4}), tmp_path / "parts")
    assert (whole["images_per_statistic"], parts["images_per_statistic"]) == (32, 8)
    assert parts["metrics"] != whole["metrics"]
    virtual = train(tiny_config(**{"trainer.virtual_devices": 4}), tmp_path / "virtual")
    assert losses(tmp_path / "virtual")[0] == pytest.approx(losses(tmp_path / "parts")[0], rel=1e-2)
    assert virtual["images_per_statistic"] == 8


# Other ways to run.


@pytest.mark.parametrize("channels_last", [True, False])
def test_memory_layout_does_not_change_what_is_computed(
    tiny_config: TinyConfig, tmp_path: Path, channels_last: bool
) -> None:
    result = train(tiny_config(**{"trainer.channels_last": channels_last}), tmp_path / "one")
    other = train(tiny_config(**{"trainer.channels_last": not channels_last}), tmp_path / "other")
    assert losses(tmp_path / "one") == pytest.approx(losses(tmp_path / "other"), rel=1e-2)
    assert result["run_id"] != other["run_id"]


def test_mixed_precision_runs(tiny_config: TinyConfig, tmp_path: Path) -> None:
    result = train(tiny_config(**{"trainer.precision": "bf16-mixed"}), tmp_path / "mixed")
    full = train(tiny_config(), tmp_path / "full")
    assert result["metrics"]["test_accuracy"] == pytest.approx(full["metrics"]["test_accuracy"], abs=0.1)
    assert result["metrics"] != full["metrics"]


def test_fast_dev_run_runs_so_many_batches(tiny_config: TinyConfig, tmp_path: Path) -> None:
    result = train(tiny_config(**{"trainer.fast_dev_run": 2}), tmp_path)
    assert result["steps"] == 2
    assert result["metrics"]["test_accuracy"] is not None
    assert result["metrics"]["val_accuracy"] is not None


def test_overfitting_a_batch_lowers_its_loss(tiny_config: TinyConfig, tmp_path: Path) -> None:
    config = tiny_config(**{"trainer.overfit_batches": 1, "budget.steps": 80, "trainer.loss_points": 8})
    train(config, tmp_path)
    found = losses(tmp_path)
    assert found[-1] < 0.2 * found[0]


@pytest.mark.parametrize("norm", ["none", "batch", "sync_batch", "ghost", "layer", "instance", "group"])
def test_every_norm_trains(tiny_config: TinyConfig, tmp_path: Path, norm: str) -> None:
    options = {"group": {"groups": 4}}.get(norm, {})
    result = train(tiny_config(**{"model.norm": norm, "model.norm_options": options, "budget.steps": 48}), tmp_path)
    assert result["metrics"]["test_accuracy"] > 0.3


def test_one_value_for_each_statistic_is_named_where_layers_are_not_known(
    tiny_config: TinyConfig, tmp_path: Path
) -> None:
    @register_model("opaque")
    def opaque(config: ModelConfig, image: tuple[int, int, int], classes: int) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(784, 10), nn.BatchNorm1d(10))

    try:
        config = replace(tiny_config(), {"model": {"name": "opaque", "channels": None, "stride": None, "pool": None}})
        config = replace(config, {"model.hidden": None, "data.batch_size": 1})
        with pytest.raises(
            UsageError, match=r"norm 'batch' has one value for each statistic .*: choose a larger batch"
        ):
            train(config, tmp_path)
    finally:
        del MODELS["opaque"]


# Metrics.


@pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning")
def test_metrics_are_those_of_a_plain_loop_over_all_test_images() -> None:
    data = MNISTDataModule("mnist_5k", batch_size=32)
    module = NormClassifier(TINY)
    trainer = plain_trainer(max_steps=60)
    trainer.fit(module, datamodule=data)
    found = trainer.test(module, datamodule=data, verbose=False)[0]

    split = data._splits["test"]
    images, labels = data.batch(split, torch.arange(len(split)))
    module.eval()
    with torch.no_grad():
        probabilities = module(images).double().softmax(-1)
    confidence, answer = probabilities.max(-1)
    right = (answer == labels).double()
    nll = -probabilities[torch.arange(len(labels)), labels].log().mean()
    calibration = 0.0
    for low in range(15):
        inside = (confidence > low / 15) & (confidence <= (low + 1) / 15)
        if inside.any():
            gap = (right[inside].mean() - confidence[inside].mean()).abs().item()
            calibration += inside.double().mean().item() * gap
    assert len(labels) == 1_000
    assert found["test_accuracy"] == pytest.approx(right.mean().item(), abs=1e-6)
    assert found["test_nll"] == pytest.approx(nll.item(), rel=1e-5)
    assert found["test_calibration_error"] == pytest.approx(calibration, abs=1e-5)


# In a user's own code.


@pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning")
def test_module_and_data_work_in_a_plain_trainer(digits: str) -> None:
    data = MNISTDataModule(digits, batch_size=64, train_samples=1_024)
    module = NormClassifier(TINY, OptimizerConfig(lr=0.1, lr_scaling="linear", schedule="cosine"), seed=1)
    trainer = plain_trainer(max_epochs=3, max_steps=-1, limit_val_batches=1.0)
    trainer.fit(module, datamodule=data)
    assert trainer.global_step == 48
    assert trainer.validate(module, datamodule=data, verbose=False)[0]["val_accuracy"] > 0.5
    assert trainer.test(module, datamodule=data, verbose=False)[0]["test_accuracy"] > 0.5
    assert module(torch.zeros(3, 1, 28, 28)).shape == (3, 10)


@pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning")
def test_a_module_comes_back_from_a_checkpoint(tmp_path: Path) -> None:
    module = NormClassifier(TINY, seed=4)
    trainer = plain_trainer(max_steps=2)
    trainer.fit(module, datamodule=MNISTDataModule("mnist_5k"))
    trainer.save_checkpoint(tmp_path / "file.ckpt")
    saved = torch.load(tmp_path / "file.ckpt", weights_only=False)
    other = NormClassifier(ModelConfig(**saved["hyper_parameters"]["model"]))
    other.load_state_dict(saved["state_dict"])
    x = torch.randn(2, 1, 28, 28)
    assert torch.equal(module.eval()(x), other.eval()(x))


@pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning")
@pytest.mark.filterwarnings("ignore:.*LightningCLI's args parameter.*:UserWarning")
def test_module_and_data_work_in_a_lightning_cli() -> None:
    class Mine(LightningCLI):
        """A command line of a user's own."""

    defaults = {"accelerator": "cpu", "max_steps": 5, "logger": False, "enable_checkpointing": False}
    cli = Mine(
        NormClassifier,
        MNISTDataModule,
        trainer_defaults=defaults | {"enable_progress_bar": False, "enable_model_summary": False},
        save_config_callback=None,
        args=[
            "fit",
            "--model.model.norm=group",
            "--model.model.norm_options.groups=4",
            "--model.optimizer.lr=0.01",
            "--model.seed=5",
            "--data.name=mnist_5k",
            "--data.batch_size=16",
            "--trainer.limit_val_batches=1",
        ],
    )
    assert cli.trainer.global_step == 5
    assert cli.model.model_config.norm_options == {"groups": 4, "eps": 1e-5}
    assert cli.model.optimizer_config.lr == 0.01
    assert cli.datamodule.batch_size == 16


def test_configurations_are_not_changed_by_training(tiny_config: TinyConfig, tmp_path: Path) -> None:
    config = tiny_config()
    before = run_id(config)
    train(config, tmp_path)
    assert run_id(config) == before
    assert isinstance(config, RunConfig)
