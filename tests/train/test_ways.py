"""Other ways to run: layouts, precisions, few batches, plug-ins."""

import math
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import nn

from normbench import register_model
from normbench.errors import UsageError
from normbench.spec import resolve, run_id
from normbench.spec.registry import CALLBACKS, MODELS
from normbench.train.callbacks import register_callback

from .runs import folder_of, losses, tiny, trained


@pytest.mark.parametrize("precision", ["32-true", "64-true"])
def test_memory_layout_does_not_change_what_is_computed(tmp_path: Path, precision: str) -> None:
    """Only the order of additions differs, and in 24 steps rounding grows: in float64 nothing of it is left."""
    found = []
    for channels_last in (True, False):
        layout = {"trainer.channels_last": channels_last, "trainer.precision": precision}
        config = tiny(**layout, **{"trainer.loss_points": 24})
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
    config = tiny(**{"trainer.overfit_batches": batches, "trainer.accumulate_grad_batches": parts, "budget.steps": 12})
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


def test_validation_on_a_part_is_stratified_and_ends_with_all(tmp_path: Path) -> None:
    seen: list[list[int]] = []

    class Look(pl.Callback):
        def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            seen.append([])

        def on_validation_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, *_: Any) -> None:
            seen[-1] += batch[1].tolist()

    keys = {"trainer.validations": 3, "trainer.validation_images": 50}
    part = trained(tiny(**keys), tmp_path / "part", callbacks=[Look()])
    whole = trained(tiny(**keys | {"trainer.validation_images": None}), tmp_path / "whole")
    assert [len(labels) for labels in seen] == [50, 50, 500]
    assert seen[0] == seen[1]
    assert sorted(set(seen[0])) == list(range(10))
    assert max(seen[0].count(digit) for digit in range(10)) <= 7  # 50 of 500: a tenth of each digit's images
    assert part["metrics"] == whole["metrics"]
    assert part["run_id"] != whole["run_id"]


@pytest.mark.parametrize("hook", ["on_train_batch_end", "on_validation_end"])
def test_a_run_that_a_callback_stops_early_ends_with_all_validation_images(hook: str, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []

    class Stop(pl.Callback):
        def on_validation_batch_end(self, trainer: pl.Trainer, module: Any, outputs: Any, batch: Any, *_: Any) -> None:
            seen.append((trainer.global_step, len(batch[1])))

    def stop(self: Stop, trainer: pl.Trainer, *_: Any) -> None:
        trainer.should_stop |= trainer.global_step >= 12

    setattr(Stop, hook, stop)
    keys = {"trainer.validations": 4, "trainer.validation_images": 50}
    part = trained(tiny(**keys), tmp_path / "part", callbacks=[Stop()])
    images = {step: sum(count for at, count in seen if at == step) for step, _ in seen}
    whole = trained(tiny(**keys | {"trainer.validation_images": None}), tmp_path / "whole", callbacks=[Stop()])
    assert part["steps"] == whole["steps"] == 12
    # What stops it after a validation has seen that one on the part.
    assert images == {6: 50, 12: 500 + 50 * (hook == "on_validation_end")}
    assert part["metrics"] == whole["metrics"]
