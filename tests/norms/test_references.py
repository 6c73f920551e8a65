"""Every norm besides the first seven against its paper's formula: values and gradients, in training and evaluation."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from normbench.errors import UsageError
from normbench.norms import NORMS, Norms, build_norm
from tests.norms.cases import CHANNELS, FORMULAS, SHAPES, build, builtin, images
from tests.norms.checks import check_channels_last, check_half_precision, few_images
from tests.norms.references import REFERENCES, batch_renorm

VARIANTS: dict[str, list[dict[str, Any]]] = {
    "layer_channels": [{}, {"eps": 0.1}],
    "position": [{}, {"eps": 0.1}],
    "local_response": [{}, {"size": 4, "alpha": 0.5, "beta": 0.3, "k": 1.0}, {"size": 1}, {"size": 40}],
    "rms": [{}, {"eps": 0.1}],
    "simple": [{}, {"eps": 0.1, "momentum": 0.3}, {"momentum": None}],
    "detached_batch": [{}, {"eps": 0.1, "momentum": 0.3}, {"momentum": None}],
    "detached_layer": [{}, {"eps": 0.1}],
    "dyt": [{}, {"alpha": 0.1}],
    "frozen_batch": [{}, {"eps": 0.1, "momentum": 0.3}],
    "batch_renorm": [{}, {"eps": 0.1, "momentum": 0.3}],
    "switchable": [{}, {"eps": 0.1, "momentum": 0.3}, {"momentum": None}],
    "batch_instance": [{}, {"eps": 0.1, "momentum": 0.3}],
    "online_norm": [
        {},
        {"decay": 0.7, "decay_gradient": 0.6, "eps": 0.1, "guard": "layer_scaling"},
        {"decay": 0.5, "guard": "none"},
        {"decay": 0.0, "decay_gradient": 0.0, "eps": 0.1, "limit": 1.0},
    ],
    "iter_norm": [{}, {"size": 4, "iterations": 3, "eps": 0.1, "momentum": 0.3}, {"size": 1}],
    "filter_response": [{}, {"learnable_eps": False, "eps": 0.1}],
    "evonorm_s0": [{"groups": 2}, {"groups": 4, "eps": 0.1}],
    "evonorm_b0": [{}, {"eps": 0.1, "momentum": 0.3}],
}
# What finite differences cannot see: constants to autograd, and a gradient that is corrected over several steps.
NOT_THE_GRADIENT = {"detached_batch", "detached_layer", "online_norm"}

CASES = [
    pytest.param(name, layout, options, id=f"{name}-{layout}-{options or 'default'}")
    for name in REFERENCES
    for options in VARIANTS.get(name, [{}])
    for layout in SHAPES
    if layout in NORMS.get(name).facts["measured"](options).layouts
]
every_norm = pytest.mark.parametrize(("name", "layout", "options"), CASES)
with_images = pytest.mark.parametrize(
    ("name", "layout", "options"), [case for case in CASES if case.values[1] == "image"]
)


def expected(layer: nn.Module, name: str, options: dict[str, Any], x: Tensor) -> Tensor:
    state = {**{k: v.clone() for k, v in layer.named_buffers()}, **dict(layer.named_parameters())}
    chosen = NORMS.get(name).chosen(options, "options")
    return REFERENCES[name](x, state, chosen, layer.training)


def test_every_norm_of_the_package_has_a_formula() -> None:
    assert builtin() == set(FORMULAS) | set(REFERENCES)


@every_norm
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_values_and_gradients_are_those_of_the_formula(
    name: str, layout: str, options: dict[str, Any], training: bool
) -> None:
    layer = build(name, options).double()
    with torch.no_grad():
        layer(images(layout, 5, dtype=torch.float64))  # running averages leave their first values
    layer.train(training)
    x = images(layout, dtype=torch.float64).requires_grad_()
    weights = torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    inputs = [x, *layer.parameters()]
    right = expected(layer, name, options, x)
    y = layer(x)
    torch.testing.assert_close(y, right, rtol=1e-9, atol=1e-9)
    wanted = torch.autograd.grad((right * weights).sum(), inputs, allow_unused=True)
    given = torch.autograd.grad((y * weights).sum(), inputs, allow_unused=True)
    for one, other in zip(given, wanted, strict=True):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-7)


@every_norm
def test_gradients_are_those_of_finite_differences(name: str, layout: str, options: dict[str, Any]) -> None:
    layer = build(name, options).double()
    x = few_images(layout)
    agrees = torch.autograd.gradcheck(layer, (x.clone().requires_grad_(),), fast_mode=True, raise_exception=False)
    assert agrees == (name not in NOT_THE_GRADIENT)


@every_norm
def test_half_precision_is_kept_and_close_to_single(name: str, layout: str, options: dict[str, Any]) -> None:
    check_half_precision(name, layout, options)


@with_images
def test_channels_last_gives_the_same_numbers_in_the_same_layout(
    name: str, layout: str, options: dict[str, Any]
) -> None:
    values = state = {"rtol": 1e-4, "atol": 1e-5}
    assert check_channels_last(name, layout, options, values, state).is_contiguous()


@every_norm
def test_state_makes_a_round_trip(name: str, layout: str, options: dict[str, Any]) -> None:
    layer, other = build(name, options), build_norm(name, CHANNELS, **options)
    layer(images(layout))
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other.eval()(images(layout, 3)), layer.eval()(images(layout, 3)))


@every_norm
def test_an_input_of_another_number_of_axes_is_named(name: str, layout: str, options: dict[str, Any]) -> None:
    if NORMS.get(name).facts.get("weights") or NORMS.get(name).facts.get("branch"):
        pytest.skip("it acts on the layers before it, and passes on what it is given")
    with pytest.raises(ValueError, match=r"expected an input \(N, C\), \(N, C, L\) or \(N, C, H, W\)"):
        build(name, options)(torch.ones(2, CHANNELS, 2, 2, 2))


@pytest.mark.parametrize("layout", list(SHAPES))
@pytest.mark.parametrize("name", ["simple", "detached_batch", "frozen_batch", "evonorm_b0"])
def test_running_averages_are_those_of_batch_norm(name: str, layout: str) -> None:
    for momentum in (0.3, None):
        layer, twin = build(name, {"momentum": momentum}).double(), build("batch", {"momentum": momentum}).double()
        for seed in range(3):
            for each in (layer, twin):
                each(images(layout, seed, dtype=torch.float64))
        assert set(layer.state_dict()) >= set(twin.state_dict())
        for key, value in twin.state_dict().items():
            torch.testing.assert_close(layer.state_dict()[key], value, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("step", "r_max", "d_max"), [(0, 1, 0), (5, 1, 0), (15, 1 + 2 * 0.1 / 0.35, 2.5), (40, 3, 5)])
@pytest.mark.parametrize("layout", list(SHAPES))
def test_batch_renorm_opens_with_the_steps(layout: str, step: int, r_max: float, d_max: float) -> None:
    layer = build("batch_renorm", {}).double()
    layer.set_step(step, 100)
    assert (layer.r_max, layer.d_max) == (pytest.approx(r_max), pytest.approx(d_max))
    x = images(layout, dtype=torch.float64).requires_grad_()
    state = {**{k: v.clone() for k, v in layer.named_buffers()}, **dict(layer.named_parameters())}
    options = NORMS.get("batch_renorm").chosen({}, "options")
    right = batch_renorm(x, state, options, True, layer.r_max, layer.d_max)
    weights = images(layout, 4, dtype=torch.float64)
    y = layer(x)
    torch.testing.assert_close(y, right, rtol=1e-9, atol=1e-9)
    given, wanted = (torch.autograd.grad((z * weights).sum(), x)[0] for z in (y, right))
    torch.testing.assert_close(given, wanted, rtol=1e-7, atol=1e-7)
    if step <= 5:
        torch.testing.assert_close(y, build("batch", {}).double()(x), rtol=1e-9, atol=1e-9)
    moved = 0.1 * x.detach().transpose(0, 1).flatten(1)
    torch.testing.assert_close(layer.running_mean, moved.mean(1), rtol=1e-9, atol=1e-9)
    deviation = 0.1 * (moved.var(1, correction=0) / 0.01 + 1e-5).sqrt() + 0.9
    torch.testing.assert_close(layer.running_std, deviation, rtol=1e-9, atol=1e-9)


def test_the_gate_is_clipped_before_the_next_step_and_in_evaluation() -> None:
    layer, x = build_norm("batch_instance", CHANNELS), images("image")
    layer.eval()
    for gate, norm in ((1.5, "batch"), (-0.5, "instance")):
        layer.gate.data.fill_(gate)
        torch.testing.assert_close(layer(x), build_norm(norm, CHANNELS).eval()(x), rtol=1e-4, atol=1e-5)
    layer.set_step(3, 10)
    assert torch.equal(layer.gate, torch.zeros(CHANNELS))


def test_the_gate_leaves_its_bound() -> None:
    """It starts at 1, batch norm; a loss that instance norm alone makes zero takes it to 0, where it stays."""
    layer, x = build_norm("batch_instance", CHANNELS), images("image")
    wanted = build_norm("instance", CHANNELS)(x).detach()
    gates = []
    for step in range(300):
        layer.set_step(step, 300)
        gates.append(layer.gate.detach().clone())
        (slope,) = torch.autograd.grad(((layer(x) - wanted) ** 2).mean(), layer.gate)
        layer.gate.data -= slope
    assert torch.equal(gates[0], torch.ones(CHANNELS))
    assert float(gates[1].max()) < 1
    assert float(layer.gate.detach().abs().max()) < 0.2


def test_many_iterations_whiten() -> None:
    layer = build_norm("iter_norm", CHANNELS, iterations=9, size=4).double()
    x = torch.randn(64, CHANNELS, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = layer(x + x[:, :1]).detach().transpose(0, 1).flatten(1)
    for part in y.split(4):
        torch.testing.assert_close(part @ part.T / part.shape[1], torch.eye(4).double(), rtol=1e-3, atol=1e-3)
    assert not torch.allclose(y @ y.T / y.shape[1], torch.eye(8).double(), atol=1e-2)
    with pytest.raises(UsageError, match="size=3 does not divide 8 channels"):
        build_norm("iter_norm", CHANNELS, size=3)


@pytest.mark.parametrize("name", ["filter_response", "evonorm_s0", "evonorm_b0"])
def test_no_activation_follows_a_norm_that_has_one(name: str) -> None:
    parts = Norms(name).after(nn.Conv2d(3, CHANNELS, 3), nn.ReLU(), CHANNELS)
    assert [part for part, _ in parts] == ["norm"]


@pytest.mark.parametrize("layout", list(SHAPES))
@pytest.mark.parametrize("count", [1, 2, 5, 12])
def test_online_norm_corrects_its_gradient_from_step_to_step(layout: str, count: int) -> None:
    options = {"decay": 0.9, "decay_gradient": 0.5, "guard": "none"}
    layer = build("online_norm", options).double()
    for seed in range(3):
        x = images(layout, seed, count, dtype=torch.float64).requires_grad_()
        right = expected(layer, "online_norm", options, x)
        weights = images(layout, 40 + seed, count, dtype=torch.float64)
        wanted = torch.autograd.grad((right * weights).sum(), x)[0]
        given = torch.autograd.grad((layer(x) * weights).sum(), x)[0]
        torch.testing.assert_close(given, wanted, rtol=1e-9, atol=1e-9 * float(wanted.abs().max()))
    assert layer.error_along.all()
    assert layer.error_mean.all()
    layer.reset_parameters()
    for key, value in build_norm("online_norm", CHANNELS).state_dict().items():
        assert torch.equal(layer.state_dict()[key], value.double()), key


def test_in_the_long_run_the_gradient_of_online_norm_is_at_right_angles_to_one_and_to_what_it_gives() -> None:
    """As that of batch norm is at every step: what the paper corrects it for."""
    layer = build_norm("online_norm", CHANNELS, guard="none").double()
    sums = torch.zeros(2, 400, CHANNELS, dtype=torch.float64)
    for step in range(400):
        x = images("image", step, dtype=torch.float64).requires_grad_()
        y = layer(x)
        (gradient,) = torch.autograd.grad((y * (images("image", 1000 + step, dtype=torch.float64) + y)).sum(), x)
        sums[0, step], sums[1, step] = (gradient * y).mean((0, 2, 3)).detach(), gradient.mean((0, 2, 3))
    late, early = sums[:, 200:].mean(1).abs(), sums[:, :5].mean(1).abs()  # (2, C)
    assert (late.mean(1) < early.mean(1) / 10).all()


def test_an_image_of_online_norm_knows_those_before_it_alone() -> None:
    x, changed = images("image"), images("image")
    changed[6] += 1
    one, other = (build("online_norm", {"decay": 0.5, "guard": "none"})(each) for each in (x, changed))
    assert torch.equal(one[:6], other[:6])
    assert all(not torch.equal(a, b) for a, b in zip(one[6:9], other[6:9], strict=True))


@pytest.mark.parametrize("layout", list(SHAPES))
def test_a_batch_of_online_norm_is_its_images_one_by_one(layout: str) -> None:
    """Values, gradients and state, with batches of 12 and of one."""
    x, weights = images(layout, dtype=torch.float64).requires_grad_(), images(layout, 7, dtype=torch.float64)
    whole, single = (build("online_norm", {"decay": 0.8, "limit": 1.5}).double() for _ in range(2))
    y = whole(x)
    (gradient,) = torch.autograd.grad((y * weights).sum(), x)
    given, found = [], []
    for image, own in zip(x.detach().split(1), weights.split(1), strict=True):
        alone = image.clone().requires_grad_()
        given.append(single(alone))
        found.append(torch.autograd.grad((given[-1] * own).sum(), alone)[0])
    torch.testing.assert_close(torch.cat(given), y, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(torch.cat(found), gradient, rtol=1e-10, atol=1e-10)
    for key, value in whole.state_dict().items():
        torch.testing.assert_close(single.state_dict()[key], value, rtol=1e-10, atol=1e-10)


def test_online_norm_plays_devices_that_begin_where_the_first_one_stands() -> None:
    x, weights = images("image", dtype=torch.float64), images("image", 7, dtype=torch.float64)
    options = {"decay": 0.8, "decay_gradient": 0.6}
    played, *devices = (build("online_norm", {**options, "virtual_devices": n}).double() for n in (3, 1, 1, 1))
    for _ in range(2):
        given = x.clone().requires_grad_()
        y = played(given)
        (gradient,) = torch.autograd.grad((y * weights).sum(), given)
        for device, part in enumerate(devices):
            rows = slice(4 * device, 4 * device + 4)
            own = x[rows].clone().requires_grad_()
            one = part(own)
            torch.testing.assert_close(one, y[rows], rtol=1e-10, atol=1e-10)
            wanted = torch.autograd.grad((one * weights[rows]).sum(), own)[0]
            torch.testing.assert_close(wanted, gradient[rows], rtol=1e-10, atol=1e-10)
        for part in devices[1:]:
            part.load_state_dict(devices[0].state_dict())
        for key, value in played.state_dict().items():
            torch.testing.assert_close(devices[0].state_dict()[key], value, rtol=1e-10, atol=1e-10)
    with pytest.raises(ValueError, match="a batch of 12 images cannot be divided among 5 devices"):
        build("online_norm", {"virtual_devices": 5})(x.float())
