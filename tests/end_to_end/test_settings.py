"""Initialisation, biases, pixels and validation are settings: short trainings of real digits with each."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from normbench import NormClassifier
from normbench.spec import resolve, run_config, run_id
from normbench.store import RunFolder
from normbench.train import train

BASE = {
    "data.name": "mnist_5k",
    "data.batch_size": 32,
    "data.train_samples": 640,
    "model.name": "mlp",
    "model.hidden": [32],
    "model.norm": "none",
    "budget.steps": 60,
    "trainer.accelerator": "cpu",
    "trainer.validations": 1,
    "trainer.loss_points": 2,
    "trainer.keep": "last",
}


def trained(root: Path, **changes: Any) -> tuple[dict[str, Any], RunFolder]:
    config = resolve(run_config({**BASE, **changes}))
    folder = RunFolder(root / run_id(config))
    return dict(train(config, folder.path)), folder


@pytest.mark.parametrize("init", ["torch", "xavier", "he", "lecun", "he_uniform", "xavier_normal", "lecun_uniform"])
def test_every_initialisation_trains(tmp_path: Path, init: str) -> None:
    result, folder = trained(tmp_path, **{"model.init": init, "model.init_bias": 0})
    assert result["diverged_at_step"] is None
    assert result["metrics"]["test_accuracy"] > 0.5
    assert folder.config()["model"]["init_bias"] == 0.0


def test_normal_has_the_deviation_that_is_given(tmp_path: Path) -> None:
    small, _ = trained(tmp_path, **{"model.init": "normal", "model.init_std": 1e-4, "budget.steps": 1})
    assert small["metrics"]["test_nll"] == pytest.approx(math.log(10), abs=0.05)
    usual, _ = trained(tmp_path, **{"model.init": "normal", "model.init_std": 0.1})
    assert usual["metrics"]["test_accuracy"] > 0.5


@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
def test_no_bias_anywhere(tmp_path: Path, norm: str) -> None:
    result, folder = trained(tmp_path, **{"model.bias": "nowhere", "model.norm": norm})
    assert result["metrics"]["test_accuracy"] > 0.4
    module = NormClassifier.load_from_checkpoint(folder.weights_path)
    biases = [name for name, _ in module.net.named_parameters() if name.endswith("bias") and "norm" not in name]
    assert biases == []


def test_pixels_as_they_are(tmp_path: Path) -> None:
    plain, _ = trained(tmp_path, **{"data.standardize": False})
    usual, _ = trained(tmp_path)
    assert plain["metrics"]["test_accuracy"] > 0.3
    assert plain["metrics"]["test_nll"] != usual["metrics"]["test_nll"]


def test_without_validation_images_all_are_trained_on_and_none_is_validated(tmp_path: Path) -> None:
    result, folder = trained(
        tmp_path, **{"data.validation": 0, "data.train_samples": None, "budget.steps": None, "budget.epochs": 1}
    )
    assert result["samples"] == 4_000
    assert {name for name, value in result["metrics"].items() if value is not None} == {
        "test_accuracy",
        "test_calibration_error",
        "test_nll",
        "train_loss",
    }
    assert "val" not in set(folder.curves()["split"])
    assert torch.isfinite(torch.tensor(result["metrics"]["test_nll"]))
