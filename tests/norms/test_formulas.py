"""Every norm of the package against its formula in float64, and against torch's own layers to the last bit."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from normbench.norms import build_norm, reference
from tests.norms.cases import (
    ARGUMENTS,
    CASES,
    CHANNELS,
    EPS,
    FORMULAS,
    build,
    builtin,
    every_norm,
    formula,
    image_norms,
    images,
    per_channel,
)
from tests.norms.checks import check_channels_last, check_half_precision, few_images


def test_every_norm_of_the_package_has_a_formula() -> None:
    assert set(FORMULAS) <= builtin()  # the others: test_references


@every_norm
def test_training_output_is_the_formula(name: str, layout: str, options: dict[str, Any]) -> None:
    layer, x = build(name, options), images(layout)
    torch.testing.assert_close(layer(x).double(), formula(layer, name, options, x), rtol=1e-4, atol=2e-5)


@every_norm
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_values_and_gradients_in_float64_are_those_of_the_formula(
    name: str, layout: str, options: dict[str, Any], training: bool
) -> None:
    layer = build(name, options).double()
    with torch.no_grad():
        layer(images(layout, 5, dtype=torch.float64))  # running averages leave their first values
    layer.train(training)
    x = images(layout, dtype=torch.float64).requires_grad_()
    weights = torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    inputs = [x, *layer.parameters()]
    y, right = layer(x), formula(layer, name, options, x)
    torch.testing.assert_close(y, right, rtol=1e-10, atol=1e-10)
    expected = torch.autograd.grad((right * weights).sum(), inputs)
    actual = torch.autograd.grad((y * weights).sum(), inputs)
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-8)


@every_norm
def test_gradients_are_those_of_finite_differences(name: str, layout: str, options: dict[str, Any]) -> None:
    layer = build(name, options).double()
    x = few_images(layout)
    assert torch.autograd.gradcheck(layer, (x.clone().requires_grad_(),), fast_mode=True)


@pytest.mark.parametrize("layout", ["vector", "tokens", "image"])
@pytest.mark.parametrize("momentum", [0.1, 0.4, None])
@pytest.mark.parametrize(
    ("name", "options", "parts"),
    [
        ("batch", {}, [slice(0, 12)]),
        ("batch", {"virtual_devices": 3}, [slice(0, 4)]),  # rank 0's part alone
        ("sync_batch", {}, [slice(0, 12)]),
        ("sync_batch", {"group_size": 2, "virtual_devices": 4}, [slice(0, 6)]),  # the first group's
        ("ghost", {"size": 4}, [slice(0, 4), slice(4, 8), slice(8, 12)]),
    ],
)
def test_running_averages_hold_the_unbiased_variance(
    name: str, options: dict[str, Any], parts: list[slice], momentum: float | None, layout: str
) -> None:
    layer = build(name, {**options, "momentum": momentum})
    mean, var, count = torch.zeros(CHANNELS), torch.ones(CHANNELS), 0
    for seed in range(3):
        x = images(layout, seed)
        layer(x)
        for part in parts:
            count += 1
            weight = 1 / count if momentum is None else momentum
            new_mean, new_var = reference.batch_statistics(x[part])
            mean = reference.moved_average(mean, new_mean, weight)
            var = reference.moved_average(var, new_var, weight)
    torch.testing.assert_close(layer.running_mean.double(), mean, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(layer.running_var.double(), var, rtol=1e-5, atol=1e-5)
    assert layer.num_batches_tracked == count

    x = images(layout, 7)
    before = {key: value.clone() for key, value in layer.state_dict().items()}
    y = (x.double() - per_channel(mean, x)) / torch.sqrt(per_channel(var, x) + EPS)
    right = reference.affine(y, layer.weight, layer.bias)
    torch.testing.assert_close(layer.eval()(x).double(), right, rtol=1e-4, atol=1e-4)
    for key, value in layer.state_dict().items():
        assert torch.equal(value, before[key]), f"evaluation moved {key}"


@every_norm
def test_half_precision_is_kept_and_close_to_single(name: str, layout: str, options: dict[str, Any]) -> None:
    check_half_precision(name, layout, options)


@image_norms
def test_channels_last_gives_the_same_numbers_in_the_same_layout(
    name: str, layout: str, options: dict[str, Any]
) -> None:
    # On a CPU: torch's group norm on CUDA leaves this layout, as `norms.group` says.
    check_channels_last(name, layout, options, values={"rtol": 1e-5, "atol": 1e-5}, state={})


TWINS: dict[str, Any] = {
    "batch": lambda o, layout: (nn.BatchNorm2d if layout == "image" else nn.BatchNorm1d)(CHANNELS, **o),
    "sync_batch": lambda o, layout: (nn.BatchNorm2d if layout == "image" else nn.BatchNorm1d)(CHANNELS, **o),
    "layer": lambda o, layout: nn.GroupNorm(1, CHANNELS, **o),
    "instance": lambda o, layout: nn.GroupNorm(CHANNELS, CHANNELS, **o),
    "group": lambda o, layout: nn.GroupNorm(o["groups"], CHANNELS, eps=o.get("eps", EPS)),
}


@pytest.mark.parametrize(ARGUMENTS, [c for c in CASES if c.values[0] in TWINS and "virtual_devices" not in c.values[2]])
def test_torchs_layer_gives_the_same_bits_and_reads_the_same_state(
    name: str, layout: str, options: dict[str, Any]
) -> None:
    layer, twin = build(name, options), TWINS[name](options, layout)
    twin.load_state_dict(layer.state_dict())
    for seed in range(3):
        assert torch.equal(layer(images(layout, seed)), twin(images(layout, seed)))
    assert torch.equal(layer.eval()(images(layout, 9)), twin.eval()(images(layout, 9)))
    again = build_norm(name, CHANNELS, **options)
    again.load_state_dict(twin.state_dict())
    assert list(again.state_dict()) == list(twin.state_dict())
    for key, value in again.state_dict().items():
        assert torch.equal(value, layer.state_dict()[key]), key


@every_norm
def test_state_makes_a_round_trip(name: str, layout: str, options: dict[str, Any]) -> None:
    layer, other = build(name, options), build_norm(name, CHANNELS, **options)
    layer(images(layout))
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other.eval()(images(layout, 3)), layer.eval()(images(layout, 3)))


@pytest.mark.parametrize("options", [{"eps": 0.1}, {"momentum": 0.3}, {"momentum": None}, {}])
def test_batch_sync_virtual_and_ghost_are_one_formula(options: dict[str, Any]) -> None:
    """Where their parts are the whole batch they agree in every option, to the last bit."""
    layers = [
        build("batch", options),
        build("batch", {**options, "virtual_devices": 1}),
        build("sync_batch", options),
        build("ghost", {**options, "size": 12}),
    ]
    for seed in range(3):
        first, *others = [layer(images("image", seed)) for layer in layers]
        assert all(torch.equal(first, other) for other in others)
    states = [layer.state_dict() for layer in layers]
    for key, value in states[0].items():
        assert all(torch.equal(value, state[key]) for state in states), key


@pytest.mark.parametrize(
    ("name", "options"), [("batch", {}), ("batch", {"virtual_devices": 4}), ("ghost", {"size": 4}), ("sync_batch", {})]
)
def test_convert_sync_batchnorm_keeps_what_a_norm_is(name: str, options: dict[str, Any]) -> None:
    net = nn.Sequential(nn.Linear(3, CHANNELS), build_norm(name, CHANNELS, **options))
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(net)
    assert converted[1] is net[1]
    assert not any(isinstance(module, nn.SyncBatchNorm) for module in converted.modules())


def test_a_reset_is_a_new_layer() -> None:
    layer = build("batch", {})
    layer(images("image"))
    layer.reset_parameters()
    for key, value in build_norm("batch", CHANNELS).state_dict().items():
        assert torch.equal(layer.state_dict()[key], value), key


@pytest.mark.parametrize(
    ("name", "options", "x"),
    [
        ("batch", {}, torch.ones(1, CHANNELS)),
        ("batch", {"virtual_devices": 2}, torch.ones(2, CHANNELS)),
        ("sync_batch", {}, torch.ones(1, CHANNELS, 1, 1)),
        ("ghost", {"size": 1}, torch.ones(4, CHANNELS)),
        ("instance", {}, torch.ones(4, CHANNELS)),
        ("instance", {}, torch.ones(4, CHANNELS, 1, 1)),
        ("group", {"groups": 8}, torch.ones(4, CHANNELS)),
        ("group", {"groups": 8}, torch.ones(4, CHANNELS, 1, 1)),
    ],
)
def test_one_value_a_statistic_is_refused_by_every_norm(name: str, options: dict[str, Any], x: Tensor) -> None:
    with pytest.raises(ValueError, match=r"more than 1 value per channel|more than one value for each mean"):
        build_norm(name, CHANNELS, **options)(x)


@pytest.mark.parametrize(
    ("name", "options", "x", "said"),
    [
        ("ghost", {"size": 5}, torch.ones(12, CHANNELS), "12 images is not a multiple of the ghost size 5"),
        ("batch", {"virtual_devices": 5}, torch.ones(12, CHANNELS), "12 images cannot be divided among 5 devices"),
        ("batch", {}, torch.ones(2, CHANNELS, 2, 2, 2), r"expected an input \(N, C\), \(N, C, L\) or \(N, C, H, W\)"),
    ],
)
def test_inputs_that_do_not_fit_are_named(name: str, options: dict[str, Any], x: Tensor, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        build_norm(name, CHANNELS, **options)(x)


@pytest.mark.parametrize("layout", ["vector", "tokens", "image"])
def test_one_group_is_layer_norm(layout: str) -> None:
    x = images(layout)
    assert torch.equal(build("group", {"groups": 1})(x), build("layer", {})(x))


def test_as_many_groups_as_channels_is_instance_norm() -> None:
    x = images("image")
    grouped = build("group", {"groups": CHANNELS})(x)
    assert torch.equal(grouped, build("instance", {})(x))
    torch_own = nn.InstanceNorm2d(CHANNELS, affine=True)
    torch_own.load_state_dict(build("instance", {}).state_dict())
    torch.testing.assert_close(grouped, torch_own(x))


def test_layer_norm_is_neither_of_the_other_two_of_that_name() -> None:
    layer = build_norm("layer", CHANNELS)
    assert sum(p.numel() for p in layer.parameters()) == 2 * CHANNELS  # not C·H·W weights
    x = images("image")
    per_pixel = nn.functional.layer_norm(x.permute(0, 2, 3, 1), [CHANNELS]).permute(0, 3, 1, 2)
    assert not torch.allclose(layer(x), per_pixel, atol=0.1)
    torch.testing.assert_close(layer(x), nn.functional.layer_norm(x, x.shape[1:]))


@pytest.mark.parametrize("name", sorted(builtin()))
def test_a_large_mean_costs_rounding_and_no_more(name: str) -> None:
    """A variance as mean of squares less square of the mean would lose all of its digits here."""
    single, double = build_norm(name, CHANNELS), build_norm(name, CHANNELS).double()
    x = torch.randn(8, CHANNELS, 4, 4, generator=torch.Generator().manual_seed(1)) + 3000
    for _ in range(2):  # while training, then with its running averages
        right = double(x.double())
        assert (single(x).double() - right).abs().max() < 0.02 * right.abs().max().clamp(min=1)
        single.eval()
        double.eval()
