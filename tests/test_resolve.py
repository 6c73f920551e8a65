"""From what was written to what runs: contradictions are named before anything is trained."""

from pathlib import Path
from typing import Any

import pytest

from normbench.errors import UsageError
from normbench.norms import NORMS
from normbench.spec.counts import device_batch, epoch_samples, images_per_statistic, steps
from normbench.spec.resolve import POSITIVE, resolve
from normbench.spec.schema import RunConfig, replace, run_id


def config(**changes: Any) -> RunConfig:
    return replace(RunConfig(), changes)


def resolved(**changes: Any) -> RunConfig:
    return resolve(config(**changes))


@pytest.mark.parametrize(("section", "name"), POSITIVE)
def test_what_must_be_positive(section: str, name: str) -> None:
    for value in (0, -1, -1.5):
        with pytest.raises(UsageError, match=rf"{section}\.{name}={value} is not positive: choose .* or more"):
            resolved(**{f"{section}.{name}": value})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model.dropout": 1.0}, r"model\.dropout=1\.0 is not a probability below 1"),
        ({"model.dropout": -0.1}, r"model\.dropout=-0\.1"),
        ({"data.name": "mnits"}, r"data\.name: unknown data set 'mnits': did you mean 'mnist'"),
        ({"model.norm": "bach"}, r"unknown norm 'bach': did you mean 'batch'"),
        ({"model.name": "digitcnn"}, r"unknown model 'digitcnn': did you mean 'digit_cnn'"),
        ({"data.batch_size": 55_001}, r"batch_size=55001 is larger than the 55,000 training images of mnist: choose"),
        ({"data.train_samples": 30}, r"batch_size=64 is larger than the 30 training images of mnist"),
        ({"data.train_samples": 55_001}, r"train_samples=55001 is more than the 55,000 training images of mnist"),
        ({"data.name": "mnist_5k", "data.batch_size": 3_501}, r"larger than the 3,500 training images of mnist_5k"),
        ({"trainer.devices": 3}, r"batch_size=64 is the global batch and cannot be divided by .*=3: choose a multiple"),
        ({"trainer.accumulate_grad_batches": 5}, r"cannot be divided by trainer\.accumulate_grad_batches=5"),
        ({"trainer.virtual_devices": 6}, r"cannot be divided by trainer\.virtual_devices=6"),
        (
            {"trainer.virtual_devices": 16, "trainer.accumulate_grad_batches": 8},
            r"virtual_devices=16 \(by 128 in all\)",
        ),
        ({"trainer.devices": 2, "trainer.virtual_devices": 2}, r"virtual_devices needs trainer\.devices=1"),
        ({"budget.samples": 63}, r"budget\.samples=63 is less than one batch of 64"),
        ({"budget": {"steps": 2, "epochs": 1}}, r"give one of epochs, steps and samples, not epochs and steps"),
        (
            {"model.norm": "ghost", "model.norm_options": {"size": 24}},
            r"size=24 does not divide the 64 images of a device: choose a divisor",
        ),
        (
            {"model.norm": "batch", "model.norm_linear": True, "data.batch_size": 1},
            r"norm 'batch' has one value for each statistic on hidden\.0 .*choose .*, or .*norm_linear=false",
        ),
        ({"model.name": "mlp", "model.norm": "batch", "data.batch_size": 1}, r"one value for each statistic on hidden"),
        (
            {"model.name": "mlp", "model.norm": "batch", "data.batch_size": 4, "trainer.virtual_devices": 4},
            r"one value for each statistic on hidden\.0 with one image a device",
        ),
        (
            {"model.name": "mlp", "model.norm": "sync_batch", "data.batch_size": 1},
            r"one value for each statistic on hidden",
        ),
        (
            {"model.norm": "batch", "data.batch_size": 1, "model.channels": [2], "model.kernel_size": 28}
            | {"model.padding": "valid", "model.pool": "none"},
            r"on block\.0 with one image",
        ),
        ({"plugins": ["nowhere.py"]}, r"plugin nowhere\.py is not a Python file: give a path that exists"),
    ],
)
def test_contradictions_are_named(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        resolved(**changes)


def test_a_batch_of_one_is_fine_where_a_map_has_many_positions() -> None:
    assert images_per_statistic(resolved(**{"model.norm": "batch", "data.batch_size": 1})) == 1
    resolved(**{"model.name": "mlp", "model.norm": "layer", "data.batch_size": 1})


def test_everything_is_filled_in_and_nothing_moves_afterwards() -> None:
    once = resolved(**{"model.norm": "group"})
    assert once.budget.epochs == 1
    assert once.model.norm_options == {"groups": 8, "eps": 1e-5}
    assert None not in (once.model.channels, once.model.hidden, once.model.bias, once.model.dropout)
    assert resolve(once) == once
    assert run_id(resolve(once)) == run_id(once)


def test_a_default_that_is_written_out_is_the_same_run() -> None:
    written = {"model.norm": "none", "model.hidden": [128], "budget.epochs": 1, "model.dropout": 0.0}
    assert run_id(resolved(**written)) == run_id(resolved())


@pytest.mark.parametrize(
    ("changes", "total", "epoch"),
    [
        ({"budget.epochs": 2}, 2 * 859, 54_976),  # 55,000 // 64 = 859: whole batches only
        ({"budget.steps": 7}, 7, 54_976),
        ({"budget.samples": 1_000}, 15, 54_976),
        ({"budget.epochs": 3, "data.train_samples": 100}, 3, 64),
        ({"data.name": "mnist_5k", "budget.epochs": 1, "data.batch_size": 100}, 35, 3_500),
    ],
)
def test_budgets_in_steps(changes: dict[str, Any], total: int, epoch: int) -> None:
    assert steps(resolved(**changes)) == total
    assert epoch_samples(resolved(**changes)) == epoch


def test_equal_samples_are_more_steps_of_smaller_batches() -> None:
    counts = {size: steps(resolved(**{"budget.samples": 1_024, "data.batch_size": size})) for size in (8, 32, 128)}
    assert counts == {8: 128, 32: 32, 128: 8}


@pytest.mark.parametrize(
    ("changes", "device", "statistic"),
    [
        ({"model.norm": "batch"}, 64, 64),
        ({"model.norm": "batch", "trainer.devices": 4}, 16, 16),
        ({"model.norm": "batch", "trainer.virtual_devices": 4}, 16, 16),
        ({"model.norm": "batch", "trainer.virtual_devices": 4, "trainer.accumulate_grad_batches": 2}, 8, 8),
        ({"model.norm": "batch", "trainer.devices": 2, "trainer.num_nodes": 2}, 16, 16),
        ({"model.norm": "sync_batch", "trainer.devices": 4}, 16, 64),
        ({"model.norm": "ghost", "trainer.devices": 2}, 32, 16),
        ({"model.norm": "ghost", "trainer.devices": 8}, 8, 8),
        ({"model.norm": "layer", "trainer.devices": 2}, 32, 1),
        ({"model.norm": "none"}, 64, 0),
    ],
)
def test_images_of_a_device_and_of_a_statistic(changes: dict[str, Any], device: int, statistic: int) -> None:
    one = resolved(**changes)
    assert (device_batch(one), images_per_statistic(one)) == (device, statistic)


def test_virtual_devices_are_not_promised_to_a_norm_that_ignores_them() -> None:
    """A statistic over more images than a device has would be reported as one over fewer."""
    with pytest.raises(UsageError, match=r"virtual_devices=8: norm 'ghost' does not compute as that many devices"):
        resolved(**{"model.norm": "ghost", "model.norm_options": {"size": 16}, "trainer.virtual_devices": 8})


PLUGIN = """
from normbench import register_norm


@register_norm("{name}", axes="nothing", scope="sample", same_in_eval=True)
def build(num_channels, spatial=True, strength: float = 1.0):
    from torch import nn

    return nn.Identity()
"""


def test_a_plugin_registers_a_norm(tmp_path: Path) -> None:
    path = tmp_path / "my_norm.py"
    path.write_text(PLUGIN.format(name="my_norm"))
    try:
        one = resolved(**{"plugins": [str(path)], "model.norm": "my_norm"})
        assert one.model.norm_options == {"strength": 1.0}
        assert images_per_statistic(one) == 1
        resolved(**{"plugins": [str(path)], "model.norm": "my_norm"})
    finally:
        NORMS.pop("my_norm", None)


def test_a_plugin_that_fails_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broken_plugin.py"
    path.write_text("import no_such_library\n")
    for _ in range(2):  # a second attempt does not find a half-imported module
        with pytest.raises(
            UsageError, match=r"broken_plugin\.py fails to import: ModuleNotFoundError: No module named"
        ):
            resolved(**{"plugins": [str(path)]})
    path = tmp_path / "taken_name.py"
    path.write_text(PLUGIN.format(name="batch"))
    with pytest.raises(UsageError, match=r"norm 'batch' is registered already"):
        resolved(**{"plugins": [str(path)]})
