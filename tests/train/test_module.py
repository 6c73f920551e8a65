"""NormClassifier: in a user's own code, from a checkpoint, and what it measures."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from normbench import MNISTDataModule, NormClassifier, register_norm
from normbench.config import ModelConfig, OptimizerConfig
from normbench.errors import UsageError
from normbench.models.pool import MeanPool, mean_pool
from normbench.spec.registry import NORMS, OPTIMIZERS
from normbench.spec.schedule import learning_rate, lr_factor
from normbench.train.optimizers import build_optimizer, register_optimizer

from .runs import curve, plain_trainer, tiny, trained

SMALL = ModelConfig("cnn", norm="batch", options={"channels": [4], "stride": 4, "pool": "none", "hidden": []})
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec.*"),
]


def test_metrics_are_those_of_a_plain_loop_over_all_test_images() -> None:
    data = MNISTDataModule("mnist_5k", batch_size=32)
    module = NormClassifier(SMALL)
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


def test_logits_that_are_not_finite_make_all_metrics_nan() -> None:
    module = NormClassifier(SMALL)
    with torch.no_grad():
        module.net[-1].weight.fill_(math.inf)  # type: ignore[index]
    found = plain_trainer().test(module, datamodule=MNISTDataModule("mnist_5k"), verbose=False)[0]
    assert len(found) == 3
    assert all(math.isnan(value) for value in found.values())


# Round trips.


@pytest.mark.parametrize("weights_only", [True, False])
def test_load_from_checkpoint_gives_an_equal_module(tmp_path: Path, weights_only: bool) -> None:
    module = NormClassifier(
        ModelConfig("cnn", norm="group", norm_options={"groups": 2}, options={"channels": [4], "hidden": []}),
        OptimizerConfig("adam", lr=0.01, options={"beta2": 0.99}),
        seed=4,
        channels_last=False,
    )
    trainer = plain_trainer(max_steps=2)
    trainer.fit(module, datamodule=MNISTDataModule("mnist_5k"))
    trainer.save_checkpoint(tmp_path / "file.ckpt")
    other = NormClassifier.load_from_checkpoint(tmp_path / "file.ckpt", weights_only=weights_only)
    assert other.model_config == module.model_config
    assert other.optimizer_config == module.optimizer_config
    assert (other.seed, other.hparams) == (4, module.hparams)
    x = torch.randn(2, 1, 28, 28)
    assert torch.equal(module.eval()(x), other.eval()(x))
    assert other.net.state_dict().keys() == module.net.state_dict().keys()
    changed = NormClassifier.load_from_checkpoint(tmp_path / "file.ckpt", seed=5)
    assert changed.seed == 5


def test_sections_may_be_mappings() -> None:
    module = NormClassifier({"name": "mlp", "norm": "layer"}, {"name": "sgd", "lr": 0.5})
    assert module.model_config.options["hidden"] == [128, 128]
    assert module.optimizer_config.options == {"momentum": 0.9, "nesterov": False, "weight_decay": 0.0}
    with pytest.raises(UsageError, match="ModelConfig has no field hiden"):
        NormClassifier({"name": "mlp", "hiden": [3]})


def test_what_is_no_section_is_refused() -> None:
    """The name of a model was left out without a word, and the default network trained."""
    given: Any
    for given in ("mlp", ["mlp"], OptimizerConfig()):
        with pytest.raises(UsageError, match="is no ModelConfig: give one, or a mapping of its fields"):
            NormClassifier(given)
    for given in ("adam", 0.1, 0):
        with pytest.raises(UsageError, match="is no OptimizerConfig"):
            NormClassifier({"name": "mlp"}, given)


def test_a_size_that_cannot_be_is_named() -> None:
    with pytest.raises(UsageError, match=r"image=.*whole number from 1"):
        NormClassifier({"name": "mlp"}, image=(1, 0, 28))
    flat: Any = (1, 28)
    with pytest.raises(UsageError, match=r"image=\[1, 28\]: expected channels, height and width"):
        NormClassifier({"name": "mlp"}, image=flat)


@pytest.mark.parametrize(
    ("model", "optimizer", "said"),
    [
        ({}, {"schedule": "cosin"}, "optimizer.schedule=cosin: .*did you mean 'cosine'"),  # it was constant
        ({}, {"lr_scaling": "linar"}, "optimizer.lr_scaling=linar: .*did you mean 'linear'"),
        ({}, {"lr": -0.1}, "optimizer.lr=-0.1: expected a number above 0"),
        ({}, {"lr": math.nan}, "optimizer.lr=.nan"),
        ({}, {"warmup_steps": -3}, "optimizer.warmup_steps=-3"),
        ({}, {"options": {"nesterov": True, "momentum": 0.0}}, "optimizer.nesterov=true needs optimizer.momentum"),
        ({"init": "normal"}, {}, "model.init_std: init normal needs a standard deviation"),
        ({"init": "orthogonal"}, {}, "model.init=orthogonal"),
        ({"init_bias": "zero"}, {}, "model.init_bias=zero"),
    ],
)
def test_sections_are_checked_as_those_of_a_run_are(
    model: dict[str, Any], optimizer: dict[str, Any], said: str
) -> None:
    for kind in (dict, OptimizerConfig):
        with pytest.raises(UsageError, match=said):
            NormClassifier({"name": "mlp", **model}, kind(**optimizer))


def test_numbers_of_numpy_come_back_as_pythons_own(tmp_path: Path) -> None:
    optimizer = OptimizerConfig("adam", lr=np.logspace(-3, -1, 3)[1], options={"beta1": np.float64(0.5)})
    model = ModelConfig("mlp", norm="group", norm_options={"groups": np.int64(2)}, options={"hidden": (8, np.int64(4))})
    given: dict[str, Any] = {"classes": np.int64(10), "channels_last": np.False_, "image": (1, np.int64(28), 28)}
    module = NormClassifier(model, optimizer, seed=np.int64(3), **given)
    torch.save(dict(module.hparams), tmp_path / "hparams.pt")
    kept = torch.load(tmp_path / "hparams.pt", weights_only=True)
    assert kept["optimizer"]["lr"] == 0.01
    assert kept["model"]["options"]["hidden"] == [8, 4]
    assert (kept["seed"], kept["model"]["norm_options"]) == (3, {"groups": 2, "eps": 1e-5})
    assert (kept["channels_last"], kept["image"]) == (False, [1, 28, 28])


def test_predict_gives_the_logits_of_every_image() -> None:
    data = MNISTDataModule("mnist_5k", batch_size=32)
    module = NormClassifier(SMALL, seed=1)
    data.setup("test")
    found = torch.cat(plain_trainer().predict(module, dataloaders=data.test_dataloader()))  # type: ignore[arg-type]
    assert found.shape == (1_000, 10)
    images, _ = data.batch(data._splits["test"], torch.arange(1_000))
    assert torch.allclose(found, module.eval()(images), atol=1e-5)
    loader: Any = DataLoader(images[:5], batch_size=3)  # images alone
    plain: Any = plain_trainer().predict(module, dataloaders=loader)
    assert torch.allclose(torch.cat(plain), found[:5], atol=1e-5)
    assert [len(logits) for logits in plain] == [3, 2]


def test_the_seed_is_that_of_seed_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    from normbench.train.randomness import preserved_generators

    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
    zero = NormClassifier(SMALL)
    assert zero.seed == 0
    with preserved_generators():
        pl.seed_everything(7, verbose=False)
    monkeypatch.setenv("PL_GLOBAL_SEED", "7")
    seven = NormClassifier(SMALL)
    assert seven.seed == seven.hparams["seed"] == 7
    assert torch.equal(seven.net[-1].weight, NormClassifier(SMALL, seed=7).net[-1].weight)  # type: ignore[index]
    assert NormClassifier(SMALL, seed=0).seed == 0, "seed 0 is a seed"
    monkeypatch.setenv("PL_GLOBAL_SEED", "x")
    with pytest.raises(UsageError, match="PL_GLOBAL_SEED=x"):
        NormClassifier(SMALL)


def test_classes_and_image_come_from_the_data() -> None:
    module = NormClassifier(ModelConfig("mlp"), image=(3, 8, 8), classes=4)
    assert module(torch.zeros(2, 3, 8, 8)).shape == (2, 4)


def test_module_and_data_work_in_a_plain_trainer() -> None:
    data = MNISTDataModule("mnist_5k", batch_size=64, train_samples=1_024)
    module = NormClassifier(SMALL, OptimizerConfig(lr=0.1, lr_scaling="linear", schedule="cosine"), seed=1)
    trainer = plain_trainer(max_epochs=3, max_steps=-1, limit_val_batches=1.0)
    trainer.fit(module, datamodule=data)
    assert trainer.global_step == 48
    assert trainer.validate(module, datamodule=data, verbose=False)[0]["val_accuracy"] > 0.5
    assert trainer.test(module, datamodule=data, verbose=False)[0]["test_accuracy"] > 0.5
    assert module(torch.zeros(3, 1, 28, 28)).shape == (3, 10)


# A norm that is told the step, and pooling.


@pytest.mark.parametrize("parts", [1, 2])
def test_a_norm_is_told_every_step_once(tmp_path: Path, parts: int) -> None:
    told: list[tuple[int, int]] = []

    @register_norm("stepped")
    class Stepped(nn.BatchNorm2d):
        """Batch norm that is told the step."""

        def __init__(self, num_channels: int) -> None:
            super().__init__(num_channels)

        def set_step(self, step: int, total: int) -> None:
            told.append((step, total))

    try:
        config = tiny(**{"model.norm": "stepped", "model.channels": [4], "trainer.accumulate_grad_batches": parts})
        told.clear()
        result = trained(config, tmp_path)
        assert told == [(step, 24) for step in range(24)]
        assert result["steps"] == 24
    finally:
        NORMS.remove("stepped")


def test_mean_pool_has_a_deterministic_gradient() -> None:
    x = torch.randn(2, 3, 4, 5, requires_grad=True)
    assert torch.allclose(mean_pool(x), nn.AdaptiveAvgPool2d(1)(x).flatten(1))
    assert MeanPool()(x).shape == (2, 3)
    assert mean_pool(torch.ones(2, 3)).shape == (2, 3)
    assert mean_pool(torch.randn(2, 3, 7)).shape == (2, 3)
    torch.autograd.gradcheck(mean_pool, torch.randn(2, 3, 4, 5, requires_grad=True, dtype=torch.float64))


# What moves the weights.


class Watch(pl.Callback):
    """Learning rates of every step, in one group of parameters."""

    def __init__(self, group: int) -> None:
        self.rates: list[float] = []
        self.group = group

    def on_train_batch_start(self, trainer: pl.Trainer, *args: Any) -> None:
        self.rates.append(trainer.optimizers[0].param_groups[self.group]["lr"])


def rates(
    config: OptimizerConfig, batch_size: int = 32, group: int = 0, model: ModelConfig = SMALL, **options: Any
) -> list[float]:
    watch = Watch(group)
    data = MNISTDataModule("mnist_5k", batch_size=batch_size, train_samples=320)
    plain_trainer(callbacks=[watch], **options).fit(NormClassifier(model, config), datamodule=data)
    return watch.rates


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
    assert rates(OptimizerConfig(name=name, lr=0.1, **schedule)) == pytest.approx(expected)


def test_a_rate_of_ones_own_follows_the_schedule_too() -> None:
    config = OptimizerConfig(lr=0.01, schedule="cosine", warmup_steps=4)
    gated = dataclasses.replace(SMALL, norm="batch_instance")
    ordinary, gates = (rates(config, group=group, model=gated) for group in (0, 1))
    assert gates == pytest.approx([10 * rate for rate in ordinary])


def test_a_schedule_counts_optimizer_steps_not_accumulated_parts() -> None:
    found = rates(OptimizerConfig(lr=0.1, schedule="step", step_every=0.5), accumulate_grad_batches=2, max_steps=6)
    assert found == pytest.approx([*[0.1] * 6, *[0.01] * 6])


@pytest.mark.parametrize(("rule", "factor"), [("none", 1), ("sqrt", 2), ("linear", 4)])
def test_learning_rates_follow_the_batch(rule: Any, factor: float, tmp_path: Path) -> None:
    config = OptimizerConfig(lr=0.1, lr_scaling=rule, reference_batch=8)
    assert learning_rate(config, 32) == pytest.approx(0.1 * factor)
    assert learning_rate(config, 8) == pytest.approx(0.1)
    assert rates(config)[0] == pytest.approx(0.1 * factor)
    changes = {"optimizer.lr": 0.01, "optimizer.lr_scaling": rule, "optimizer.reference_batch": 8}
    assert trained(tiny(**changes), tmp_path)["lr"] == pytest.approx(0.01 * factor)


def test_scaling_without_a_batch_size_is_refused() -> None:
    with pytest.raises(UsageError, match="needs the batch size"):
        learning_rate(OptimizerConfig(lr_scaling="linear"), None)


def test_a_cosine_ends_at_zero_and_stays_there() -> None:
    config = OptimizerConfig(schedule="cosine")
    assert lr_factor(config, 12, 12) == pytest.approx(0)
    assert lr_factor(config, 15, 12) == pytest.approx(0)


STEPS: dict[str, Any] = {  # formula of the first step from weight 2 with gradient 3, lr 0.1
    "sgd": ({"weight_decay": 0.5}, 2 - 0.1 * (3 + 0.5 * 2)),
    "nesterov": ({"nesterov": True, "momentum": 0.5}, 2 - 0.1 * (3 + 0.5 * 3)),
    "adam": ({"eps": 1.0}, 2 - 0.1 * 3 / (3 + 1.0)),
    "adamw": ({"eps": 1.0, "weight_decay": 0.5}, 2 * (1 - 0.1 * 0.5) - 0.1 * 3 / (3 + 1.0)),
}


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("name", STEPS)
def test_an_optimizers_first_step_is_its_formula(name: str, fused: bool) -> None:
    options, expected = STEPS[name]
    weight = nn.Parameter(torch.tensor([2.0]))
    optimizer = build_optimizer({"nesterov": "sgd"}.get(name, name), [weight], 0.1, options, fused)
    assert optimizer.param_groups[0]["fused"] is fused
    weight.grad = torch.tensor([3.0])
    optimizer.step()
    assert weight.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("sgd", {"momentum": -0.1}, "optimizer.momentum=-0.1"),
        ("sgd", {"weight_decay": -1.0}, "optimizer.weight_decay"),
        ("sgd", {"beta1": 0.5}, "has no such option"),
        ("sgd", {"momentum": 0.0, "nesterov": True}, "needs optimizer.momentum"),
        ("sdg", {}, "did you mean 'sgd'"),
    ],
)
def test_impossible_options_are_named(name: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        build_optimizer(name, [nn.Parameter(torch.zeros(1))], 0.1, options)


def test_an_optimizer_of_ones_own(tmp_path: Path) -> None:
    @register_optimizer("slow")
    def slow(parameters: Any, lr: float, *, factor: float = 1.0) -> torch.optim.Optimizer:
        """SGD at a fraction of the learning rate."""
        return torch.optim.SGD(parameters, lr=lr * factor)

    try:
        config = tiny(**{"optimizer.name": "slow", "optimizer.factor": 1e-9})
        result = trained(config, tmp_path)
    finally:
        OPTIMIZERS.remove("slow")
    assert result["config"]["optimizer"]["factor"] == 1e-9
    points = [float(row["value"]) for row in curve(folder_of_result(result, tmp_path)) if row["split"] == "train"]
    assert points[0] == pytest.approx(points[-1], rel=0.1), "it does not move"


def folder_of_result(result: dict[str, Any], root: Path) -> Path:
    return root / result["run_id"]
