"""From what was written to what runs: contradictions are named before anything is trained."""

import re
import typing
import warnings
from typing import Annotated, Any

import pytest

from normbench.errors import UsageError
from normbench.spec import (
    DegenerateStatisticWarning,
    RunConfig,
    device_batch,
    epoch_samples,
    images_per_statistic,
    replace,
    resolve,
    run_config,
    run_id,
    steps,
    validates,
    values_per_statistic,
)
from normbench.spec.counts import evenly_spread
from normbench.spec.registry import DATASETS, MODELS, NORMS, OPTIMIZERS, PROBES
from normbench.spec.schema import ALIASES, SECTIONS, hints
from normbench.spec.values import Range

GROUPED: dict[str, Any] = {"model.norm": "sync_batch", "model.norm_options": {"group_size": 2}}


def resolved(**changes: Any) -> RunConfig:
    return resolve(run_config(changes))


# Ranges, of every number that has one, over the schema and all registries.


def limits(hint: Any) -> list[Range]:
    """The ranges of a type, those of the parts of a union included."""
    found = [part for part in typing.get_args(hint)[1:] if isinstance(part, Range)]
    if typing.get_origin(hint) is Annotated:
        return found + limits(typing.get_args(hint)[0])
    return [one for part in typing.get_args(hint) for one in limits(part)]


def bad_values(hint: Any) -> list[float]:
    return [
        value
        for one in limits(hint)
        for bound, step in ((one.low, -1), (one.high, 1))
        if bound is not None
        for value in [int(bound) + step]
    ]


OWN = [
    (f"{section}.{name}", value)
    for section in SECTIONS
    for name, hint in hints(section).items()
    for value in bad_values(hint)
]
OPTIONS = [
    (f"{section}.name", name, f"{section}.{option.name}", value)
    for section, registry in (("model", MODELS), ("optimizer", OPTIMIZERS), ("data", DATASETS))
    for name in registry
    for option in registry.get(name).options.values()
    for value in bad_values(option.hint)
]
NORM_OPTIONS = [
    (name, option.name, value)
    for name in NORMS
    for option in NORMS.get(name).options.values()
    for value in bad_values(option.hint)
]


@pytest.mark.parametrize(("key", "value"), OWN)
def test_a_number_out_of_its_range_is_named(key: str, value: float) -> None:
    with pytest.raises(UsageError, match=rf"^{key}={value}: expected .*a (whole )?number"):
        resolved(**{key: value})


@pytest.mark.parametrize(("named", "name", "key", "value"), OPTIONS)
def test_an_option_out_of_its_range_is_named(named: str, name: str, key: str, value: float) -> None:
    needed = {"data.path": "x"} if name == "image_folder" else {}
    for bad in (value, [value]):
        with pytest.raises(UsageError, match=rf"^{key}=\[?{value}\]?: expected "):
            resolved(**{named: name, key: bad, **needed})


@pytest.mark.parametrize(("norm", "option", "value"), NORM_OPTIONS)
def test_a_norms_option_out_of_its_range_is_named(norm: str, option: str, value: float) -> None:
    with pytest.raises(UsageError, match=rf"^model.norm_options.{option}={value}: expected "):
        resolved(**{"model.norm": norm, f"model.norm_options.{option}": value})


def test_the_ranges_are_really_looked_at() -> None:
    assert len(OWN) > 20
    assert len(OPTIONS) > 20
    assert len(NORM_OPTIONS) > 10


@pytest.mark.parametrize("value", [".nan", float("nan"), float("inf"), "abc", True, [1]])
@pytest.mark.parametrize(
    "key", ["optimizer.lr", "optimizer.weight_decay", "model.dropout", "trainer.gradient_clip_val"]
)
def test_what_is_no_number_is_named(key: str, value: Any) -> None:
    with pytest.raises(UsageError, match=rf"^{key}=.*: expected a number"):
        resolved(**{key: value})


# Whatever is named, in every registry.


@pytest.mark.parametrize(
    ("registry", "key"),
    [(DATASETS, "data.name"), (MODELS, "model.name"), (NORMS, "model.norm"), (OPTIMIZERS, "optimizer.name")],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_unknown_name_has_a_nearest_one(registry: Any, key: str) -> None:
    for name in registry:
        with pytest.raises(UsageError, match=rf"^{key}: unknown .* '{name}x': did you mean '\w+'\? known: .*{name}"):
            resolved(**{key: f"{name}x"})


def test_an_unknown_probe_or_callback_is_named() -> None:
    assert "layers" in PROBES
    with pytest.raises(UsageError, match=r"unknown probe 'layer': did you mean 'layers'"):
        resolve(run_config({"probes": {"layer": {}}}))
    with pytest.raises(UsageError, match=r"unknown callback 'x'"):
        resolved(**{"trainer.callbacks": ["x"]})


@pytest.mark.parametrize(
    ("key", "value"), [("trainer.precision", "bf16_mixed"), ("trainer.accelerator", "gppu"), ("model.init", "hee")]
)
def test_a_misspelt_word_is_named_with_the_nearest(key: str, value: str) -> None:
    with pytest.raises(UsageError, match=rf"^{key}={value}: expected one of .*; did you mean '"):
        resolved(**{key: value})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model.dropout": 1.0}, r"model\.dropout=1\.0: expected a number from 0 below 1"),
        ({"model.dropout": -0.1}, r"model\.dropout=-0\.1"),
        ({"data.batch_size": 55_001}, r"batch_size=55001 is larger than the 55,000 training images of mnist: choose"),
        ({"data.train_samples": 30}, r"batch_size=64 is larger than the 30 training images of mnist"),
        ({"data.train_samples": 55_001}, r"train_samples=55001 is more than the 55,000 training images of mnist"),
        ({"data.name": "mnist_5k", "data.batch_size": 3_501}, r"larger than the 3,500 training images of mnist_5k"),
        ({"data.name": "mnist_5k", "data.validation": 4_000}, r"data.validation=4000 leaves nothing of mnist_5k"),
        ({"data.name": "mnist_5k", "data.validation": 3_990}, r"batch_size=64 is larger than the 10 training images"),
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
        ({"optimizer.warmup_steps": 100, "budget.steps": 20}, r"warmup_steps=100 is more than the 20 steps"),
        ({"trainer.validations": 50, "budget.steps": 20}, r"validations=50 is more than the 20 steps of the budget"),
        ({"trainer.loss_points": 500, "budget.steps": 20}, r"loss_points=500 is more than the 20 steps of the budget"),
        ({"optimizer.nesterov": True, "optimizer.momentum": 0.0}, r"optimizer\.nesterov=true needs .*momentum"),
        ({"model.init": "normal"}, r"model\.init_std: init normal needs a standard deviation, for example 0\.02"),
        ({"model.init": "he", "model.init_std": 0.1}, r"model\.init_std=0\.1: only init normal and trunc"),
        ({"model.init": "truncated_normal"}, r"init truncated_normal needs a standard deviation"),
        ({"trainer.precision": "16-mixed", "trainer.accelerator": "cpu"}, r"16-mixed: a CPU computes .*bf16-mixed"),
        ({"trainer.precision": 64, "trainer.accelerator": "mps"}, r"64-true: Apple's GPUs have no float64"),
        ({"trainer.keep": "best", "trainer.validations": 0}, r"keep=best needs validation images and .*validations"),
        ({"trainer.keep": "best", "data.validation": 0}, r"keep=best needs validation images"),
        ({"trainer.validation_images": 5000}, r"validation_images=5000: mnist has 5,000 validation images: .*fewer"),
        ({"trainer.validation_images": 500, "trainer.keep": "best"}, r"keep=best compares evaluations: leave out"),
        (
            {"model.norm": "ghost", "model.norm_options": {"size": 24}},
            r"takes its statistics from 24 images at a time, which does not divide the 64 images of a device: choose",
        ),
        (
            {"model.norm": "group", "model.norm_options": {"groups": 5}},
            r"32 channels .*: 5 does not divide 32: choose one of 1, 2, 4, 8, 16, 32",
        ),
        ({"model.kernel_size": 15, "model.padding": "valid"}, r"makes a map of .*: use fewer blocks"),
        ({"plugins": ["nowhere.py"]}, r"plugin nowhere\.py is not a Python file: give a path that exists"),
    ],
)
def test_contradictions_are_named(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        resolved(**changes)
    assert "\n" not in str(caught.value)


LIMITS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    # 3,500 images in batches of 350: ten an epoch; one batch of 500 to validate on, and two to test on.
    ({"trainer.overfit_batches": 11}, {"trainer.overfit_batches": 10}),
    ({"trainer.overfit_batches": 9999}, {"trainer.overfit_batches": 10}),
    ({"trainer.overfit_batches": 10, "budget.steps": 10}, {}),
    ({"trainer.overfit_batches": 7, "budget.steps": 5}, {}),
    ({"trainer.overfit_batches": 4, "trainer.fast_dev_run": 3}, {"trainer.fast_dev_run": 3}),
    ({"trainer.fast_dev_run": 25}, {"trainer.validations": 1}),
    ({"trainer.fast_dev_run": 9999}, {"trainer.validations": 1}),
    ({"trainer.fast_dev_run": 9999, "trainer.validations": 0}, {"trainer.validations": 0}),
    ({"trainer.fast_dev_run": 10, "budget.steps": 1}, {"trainer.validations": 1}),
    (
        {"trainer.fast_dev_run": 26, "trainer.overfit_batches": 3},
        {"trainer.validations": 1, "trainer.overfit_batches": 3},
    ),
]
LIMITING: list[dict[str, Any]] = [
    {"trainer.overfit_batches": 9},
    {"trainer.overfit_batches": 10},  # the same order in each epoch
    {"trainer.fast_dev_run": 24},
    {"trainer.fast_dev_run": 1, "budget.steps": 1},  # not all test images
]


def few(changes: dict[str, Any]) -> RunConfig:
    return resolved(**{"data.name": "mnist_5k", "data.batch_size": 350, "budget.steps": 25, **changes})


@pytest.mark.parametrize(("changes", "same"), LIMITS, ids=str)
def test_a_limit_that_limits_nothing_is_no_other_run(changes: dict[str, Any], same: dict[str, Any]) -> None:
    same = {**{key: value for key, value in changes.items() if key.startswith("budget")}, **same}
    assert few(changes) == few(same)
    assert run_id(few(changes)) == run_id(few(same))


@pytest.mark.parametrize("changes", LIMITING, ids=str)
def test_a_limit_that_limits_stays(changes: dict[str, Any]) -> None:
    found = few(changes).trainer
    assert {key: getattr(found, key.partition(".")[2]) for key in changes if "trainer" in key} == {
        key: value for key, value in changes.items() if "trainer" in key
    }


def test_more_evaluations_than_steps_by_default_are_one_a_step() -> None:
    """Defaults fit any budget; a number that someone asks for is a promise."""
    assert resolved(**{"budget.steps": 2}).trainer.validations == 5
    assert evenly_spread(2, 5) == [1, 2]
    assert evenly_spread(12, 5) == [3, 5, 8, 10, 12], "five are five"


# Degenerate statistics: one rule for every norm.

ONE_PIXEL = {
    "model.name": "cnn",
    "model.channels": [8, 8, 8, 8, 8],
    "model.stride": 2,
    "model.pool": "none",
    "data.batch_size": 32,
}


@pytest.mark.parametrize(
    ("changes", "site"),
    [
        ({**ONE_PIXEL, "model.norm": "group", "model.norm_options": {"groups": 8}}, r"block\.4"),
        ({**ONE_PIXEL, "model.norm": "instance"}, r"block\.4"),
        ({**ONE_PIXEL, "model.norm": "batch", "data.batch_size": 1}, r"block\.4"),
        ({**ONE_PIXEL, "model.norm": "sync_batch", "data.batch_size": 1}, r"block\.4"),
        ({**ONE_PIXEL, "model.norm": "ghost", "model.norm_options": {"size": 1}}, r"block\.4"),
        ({"model.name": "mlp", "model.norm": "layer", "model.hidden": [1]}, r"hidden\.0"),
        ({"model.name": "mlp", "model.norm": "instance"}, r"hidden\.0"),
        ({"model.name": "mlp", "model.norm": "batch", "data.batch_size": 1}, r"hidden\.0"),
        ({"model.name": "mlp", "model.norm": "sync_batch", "data.batch_size": 1}, r"hidden\.0"),
        (
            {"model.name": "mlp", "model.norm": "batch", "data.batch_size": 4, "trainer.virtual_devices": 4},
            r"hidden\.0",
        ),
        ({"model.norm": "batch", "model.norm_linear": True, "data.batch_size": 1}, r"hidden\.0"),
        (
            {"model.norm": "batch", "data.batch_size": 1, "model.channels": [2], "model.kernel_size": 28}
            | {"model.padding": "valid", "model.pool": "none"},
            r"block\.0",
        ),
    ],
)
def test_one_value_a_statistic_is_refused_for_every_norm(changes: dict[str, Any], site: str) -> None:
    with pytest.raises(UsageError, match=rf"^{site}: .*one value for each statistic .*choose "):
        resolved(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {**ONE_PIXEL, "model.norm": "group", "model.norm_options": {"groups": 4}},
        {"model.name": "mlp", "model.norm": "layer", "model.hidden": [2]},
        {"model.name": "mlp", "model.norm": "batch", "data.batch_size": 2},
        {"model.name": "mlp", "model.norm": "ghost", "model.norm_options": {"size": 2}, "data.batch_size": 8},
    ],
)
def test_two_values_a_statistic_are_warned_about(changes: dict[str, Any]) -> None:
    with pytest.warns(DegenerateStatisticWarning, match="two values"):
        resolved(**changes)
    assert values_per_statistic(quietly(changes)) == 2


def quietly(changes: dict[str, Any]) -> RunConfig:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateStatisticWarning)
        return resolve(run_config(changes))


def test_enough_values_are_fine() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one = resolved(**{"model.norm": "batch", "data.batch_size": 1})
        assert images_per_statistic(one) == 1
        assert values_per_statistic(one) == 14 * 14
        resolved(**{"model.name": "mlp", "model.norm": "layer", "data.batch_size": 1})
        resolved(**{**ONE_PIXEL, "model.norm": "group", "model.norm_options": {"groups": 1}})
        resolved(**{"model.name": "mlp", "model.norm": "none", "model.hidden": [1], "data.batch_size": 1})
        past = resolved(**{"model.name": "mlp", "model.norm": "online_norm", "data.batch_size": 1})
        assert images_per_statistic(past) is values_per_statistic(past) is None


# What everything is filled in with.


def test_everything_is_filled_in_and_nothing_moves_afterwards() -> None:
    for changes in ({"model.norm": "group"}, {"optimizer.name": "adam"}, {"model.name": "digit_cnn_bn"}):
        once = resolved(**changes)
        assert once.budget.epochs == 1
        assert once.model.norm is not None
        assert once.model.options.keys() == MODELS.get(once.model.name).options.keys()
        assert once.model.norm_options.keys() == NORMS.get(once.model.norm).options.keys()
        assert once.optimizer.options.keys() == OPTIMIZERS.get(once.optimizer.name).options.keys()
        assert once.trainer.accelerator in {"cpu", "cuda", "mps"}
        assert resolve(once) == once
        assert run_id(resolve(once)) == run_id(once)
    assert resolved(**{"model.norm": "group"}).model.norm_options == {"groups": 8, "eps": 1e-5}


@pytest.mark.parametrize(("key", "word", "meant"), [(k, w, m) for k, ws in ALIASES.items() for w, m in ws.items()])
def test_another_word_for_a_value_is_the_same_run(key: str, word: Any, meant: str) -> None:
    rest = {"trainer.accelerator": "cuda"} if key == "trainer.precision" else {}
    for build in (run_config, lambda changes: replace(RunConfig(), changes)):
        one, other = (resolve(build({**rest, key: value})) for value in (word, meant))
        assert one == other
        assert run_id(one) == run_id(other)


@pytest.mark.parametrize(
    ("changes", "total", "epoch"),
    [
        ({"budget.epochs": 2}, 2 * 859, 54_976),  # 55,000 // 64 = 859: whole batches only
        ({"budget.steps": 7}, 7, 54_976),
        ({"budget.samples": 1_000}, 15, 54_976),
        ({"budget.epochs": 3, "data.train_samples": 100}, 3, 64),
        ({"data.name": "mnist_5k", "budget.epochs": 1, "data.batch_size": 100}, 35, 3_500),
        ({"data.name": "mnist_5k", "budget.epochs": 1, "data.batch_size": 100, "data.validation": 0}, 40, 4_000),
        ({"data.name": "mnist_5k", "budget.epochs": 1, "data.batch_size": 100, "data.validation": 1000}, 30, 3_000),
    ],
)
def test_budgets_in_steps(changes: dict[str, Any], total: int, epoch: int) -> None:
    assert steps(resolved(**changes)) == total
    assert epoch_samples(resolved(**changes)) == epoch


def test_equal_samples_are_more_steps_of_smaller_batches() -> None:
    counts = {size: steps(resolved(**{"budget.samples": 1_024, "data.batch_size": size})) for size in (8, 32, 128)}
    assert counts == {8: 128, 32: 32, 128: 8}


def test_a_run_validates_where_it_has_images_and_is_asked_to() -> None:
    assert validates(resolved())
    assert not validates(resolved(**{"data.validation": 0}))
    assert not validates(resolved(**{"trainer.validations": 0}))


@pytest.mark.parametrize(
    ("changes", "device", "statistic"),
    [
        ({"model.norm": "batch"}, 64, 64),
        ({"model.norm": "batch", "trainer.devices": 4}, 16, 16),
        ({"model.norm": "batch", "trainer.virtual_devices": 4}, 16, 16),
        ({"model.norm": "batch", "trainer.virtual_devices": 4, "trainer.accumulate_grad_batches": 2}, 8, 8),
        ({"model.norm": "batch", "trainer.devices": 2, "trainer.num_nodes": 2}, 16, 16),
        ({"model.norm": "sync_batch", "trainer.devices": 4}, 16, 64),
        ({**GROUPED, "trainer.devices": 4}, 16, 32),
        ({**GROUPED, "trainer.virtual_devices": 4}, 16, 32),
        ({"model.norm": "ghost", "trainer.devices": 2}, 32, 16),
        ({"model.norm": "ghost", "trainer.devices": 8}, 8, 8),
        ({"model.norm": "layer", "trainer.devices": 2}, 32, 1),
        ({"model.norm": "none"}, 64, 0),
        ({"model.norm": "online_norm", "trainer.virtual_devices": 2}, 32, None),
    ],
)
def test_images_of_a_device_and_of_a_statistic(changes: dict[str, Any], device: int, statistic: int | None) -> None:
    one = resolved(**changes)
    assert (device_batch(one), images_per_statistic(one)) == (device, statistic)


def test_groups_of_devices_must_divide_them() -> None:
    with pytest.raises(UsageError, match=r"groups of 2 devices, which does not divide the 1 of the run"):
        resolved(**GROUPED)
    left_out = {"model.norm": "sync_batch", "model.norm_options": {"group_size": None}}
    assert run_id(resolved(**left_out)) == run_id(resolved(**{"model.norm": "sync_batch"}))


def test_batch_instance_norm_is_refused_where_its_instance_part_has_one_value() -> None:
    for keys in ({"model.name": "mlp"}, {"model.name": "cnn", "model.norm_linear": True}, ONE_PIXEL):
        with pytest.raises(UsageError, match=r"norm 'batch_instance' has one value for each statistic"):
            resolved(**keys, **{"model.norm": "batch_instance"})


def test_virtual_devices_are_not_promised_to_a_norm_that_ignores_them() -> None:
    """A statistic over more images than a device has would be reported as one over fewer."""
    with pytest.raises(UsageError, match=r"virtual_devices=8: norm 'ghost' does not compute as that many devices"):
        resolved(**{"model.norm": "ghost", "model.norm_options": {"size": 16}, "trainer.virtual_devices": 8})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"lr": 1e308, "lr_scaling": "linear", "reference_batch": 1}, "lr=1e+308, optimizer.lr_scaling=linear"),
        ({"schedule": "step", "step_every": 1e-320}, "lr=0.05, optimizer.step_every=1e-320, optimizer.step_factor=0.1"),
        ({"schedule": "step", "step_every": 0.001, "step_factor": 10}, "lr=0.05, optimizer.step_every=0.001"),
        ({"schedule": "cosine", "lr": 1e308, "lr_scaling": "sqrt", "reference_batch": 1}, "lr=1e+308"),
    ],
)
def test_a_rate_beyond_all_numbers_is_refused(changes: dict[str, Any], said: str) -> None:
    """Found after the training: a result without a usable rate, or a division by zero."""
    config = run_config({f"optimizer.{key}": value for key, value in changes.items()} | {"data.name": "mnist_5k"})
    with pytest.raises(UsageError, match=rf"^optimizer.{re.escape(said)}.*: the learning rate grows beyond all"):
        resolve(config)


KERNELS = {"model.name": "cnn", "model.channels": [4, 4], "model.kernel_size": 1}
NARROW = {"model.name": "mlp", "model.hidden": [1, 8]}


@pytest.mark.parametrize("norm", ["weight_std", "scaled_weight_std", "layer_channels + weight_std"])
@pytest.mark.parametrize(("model", "name"), [(KERNELS, "block.0"), (NARROW, "hidden.1")])
def test_a_filter_of_one_weight_is_not_standardised(norm: str, model: dict[str, Any], name: str) -> None:
    """It was zero, so that nothing of the input passed, and the run trained to chance."""
    if model is NARROW and "layer" in norm:
        pytest.skip("the layer norm of one unit is refused first")
    said = rf"{re.escape(name)}: norm '\w*weight_std' has one value .* a larger kernel"
    with pytest.raises(UsageError, match=said):
        resolve(run_config({"data.name": "mnist_5k", "model.norm": norm, **model}))
    resolve(run_config({"data.name": "mnist_5k", **model, "model.norm": "weight_norm"}))
