"""The second evaluation, with running averages recomputed over training images."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from normbench.data.module import MNISTDataModule
from normbench.launch.ranks import execute
from normbench.seeds import generator
from normbench.spec import resolve
from normbench.train.module import NormClassifier

from .runs import folder_of, tiny, trained

IMAGES = 160  # five batches


def kept(folder: Path) -> NormClassifier:
    module = NormClassifier.load_from_checkpoint(folder / "weights.ckpt", map_location="cpu", weights_only=True)
    return module.eval()


def images_of(config: Any) -> tuple[MNISTDataModule, torch.Tensor]:
    data = MNISTDataModule.from_config(config.data, config.seed)
    data.setup()
    order = torch.randperm(512, generator=generator(config.seed, "precise"))[:IMAGES]
    return data, data.batch(data.split("train"), order)[0]


def accuracy(net: torch.nn.Module, data: MNISTDataModule) -> float:
    with torch.no_grad():
        right = [(net(images).argmax(-1) == labels) for images, labels in data.test_dataloader()]
    return float(torch.cat(right).double().mean())


@pytest.mark.parametrize("keep", ["last", "best"])
def test_it_is_the_plain_mean_of_the_statistics_of_the_final_weights(tmp_path: Path, keep: str) -> None:
    """By torch's own batch norm, layer after layer, in float64: means and unbiased variances of five batches."""
    keys: dict[str, Any] = {"trainer.precise_statistics": IMAGES, "trainer.keep": keep, "trainer.precision": "64-true"}
    config = tiny(**keys)
    result = trained(config, tmp_path)
    net = kept(folder_of(config, tmp_path)).double().net
    before = {name: buffer.clone() for name, buffer in net.named_buffers()}
    data, images = images_of(resolve(config))
    assert result["metrics"]["test_accuracy"] == pytest.approx(accuracy(net.double(), Doubled(data)), abs=1e-9)

    sums: dict[str, list[tuple[torch.Tensor, torch.Tensor]]] = {}

    def note(name: str) -> Any:
        def hook(layer: Any, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
            x = inputs[0].transpose(0, 1).flatten(1)
            sums.setdefault(name, []).append((x.mean(1), x.var(1, unbiased=True)))

        return hook

    norms = {name: m for name, m in net.named_modules() if hasattr(m, "running_mean")}
    hooks = [layer.register_forward_hook(note(name)) for name, layer in norms.items()]
    net.train()
    with torch.no_grad():
        for batch in images.double().split(32):
            net(batch)
    for hook in hooks:
        hook.remove()
    net.eval()
    for name, layer in norms.items():
        means, variances = zip(*sums[name], strict=True)
        assert len(means) == 5
        layer.running_mean.copy_(torch.stack(means).mean(0))
        layer.running_var.copy_(torch.stack(variances).mean(0))
    assert result["metrics"]["test_accuracy_precise"] == pytest.approx(accuracy(net, Doubled(data)), abs=1e-9)
    assert result["metrics"]["test_accuracy_precise"] != result["metrics"]["test_accuracy"]
    again = kept(folder_of(config, tmp_path)).double().net
    assert all(torch.equal(buffer, before[name]) for name, buffer in again.named_buffers())


class Doubled:
    """Test images in float64, as the run had them."""

    def __init__(self, data: MNISTDataModule) -> None:
        self.data = data

    def test_dataloader(self) -> Any:
        return ((images.double(), labels) for images, labels in self.data.test_dataloader())


def test_it_changes_nothing_else(tmp_path: Path) -> None:
    plain, precise = (trained(tiny(**{"trainer.precise_statistics": images}), tmp_path) for images in (0, IMAGES))
    extra = {f"{split}_{name}_precise" for split in ("test", "val") for name in ("accuracy", "nll")}
    assert precise["metrics"].keys() - plain["metrics"].keys() == extra
    assert {name: value for name, value in precise["metrics"].items() if name not in extra} == plain["metrics"]
    assert precise["run_id"] != plain["run_id"]


@pytest.mark.parametrize("norm", ["none", "layer"])
def test_norms_without_running_averages_have_the_same_numbers_twice(tmp_path: Path, norm: str) -> None:
    metrics = trained(tiny(**{"trainer.precise_statistics": IMAGES, "model.norm": norm}), tmp_path)["metrics"]
    for name in ("test_accuracy", "test_nll", "val_accuracy", "val_nll"):
        assert metrics[f"{name}_precise"] == metrics[name]


def test_it_repairs_averages_that_lag_behind(tmp_path: Path) -> None:
    """With a momentum of .001 the averages of 24 steps are those of an untrained network."""
    lagging: dict[str, Any] = {"model.norm_options": {"momentum": 0.001}, "trainer.precise_statistics": 512}
    metrics = trained(tiny(**lagging, **{"budget.steps": 60}), tmp_path)["metrics"]
    assert metrics["test_accuracy_precise"] > metrics["test_accuracy"] + 0.05
    assert metrics["test_nll_precise"] < metrics["test_nll"]


def test_dropout_is_the_same_each_time(tmp_path: Path) -> None:
    config = tiny(**{"trainer.precise_statistics": IMAGES, "model.dropout": 0.5})
    first, again = (trained(config, tmp_path / name)["metrics"] for name in ("a", "b"))
    assert first == again


def test_a_diverged_run_has_neither_numbers_nor_predictions(tmp_path: Path) -> None:
    config = tiny(**{"trainer.precise_statistics": IMAGES, "optimizer.lr": 1e30})
    result = trained(config, tmp_path)
    assert result["diverged_at_step"] is not None
    assert result["metrics"]["test_accuracy_precise"] is None
    assert not (folder_of(config, tmp_path) / "test_predictions.npz").exists()


@pytest.mark.parametrize(
    ("norm", "changes"),
    [
        ("sync_batch", {"trainer.devices": 2}),
        ("ghost", {"model.norm_options": {"size": 16}, "trainer.accumulate_grad_batches": 2}),
    ],
)
def test_divided_batches_give_the_numbers_of_one_device(tmp_path: Path, norm: str, changes: dict[str, Any]) -> None:
    """Statistics over both processes' images, and over parts that are those of a ghost batch."""
    keys = {"trainer.precise_statistics": IMAGES, "model.norm": norm, "budget.steps": 8, "trainer.validations": 1}
    keys |= {key: value for key, value in changes.items() if key.startswith("model")}
    one = tiny(**keys)
    other = tiny(**keys | changes)
    results = [execute(config, folder_of(config, tmp_path)) for config in (one, other)]
    a, b = (result["metrics"] for result in results)
    for name in ("test_accuracy_precise", "val_accuracy_precise"):
        assert a[name] == pytest.approx(b[name], abs=0.004)
    assert a["test_nll_precise"] == pytest.approx(b["test_nll_precise"], rel=1e-3)
    files = [np.load(folder_of(config, tmp_path) / "test_predictions.npz") for config in (one, other)]
    assert (files[0]["classes"] == files[1]["classes"]).mean() > 0.99


def test_frozen_averages_are_left_as_they_are(tmp_path: Path) -> None:
    result = trained(tiny(**{"model.norm": "frozen_batch", "trainer.precise_statistics": 64}), tmp_path)
    assert result["metrics"]["test_nll_precise"] == result["metrics"]["test_nll"]
