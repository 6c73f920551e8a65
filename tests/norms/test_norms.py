"""Every norm of the registry against its formula in float64, and against what the registry claims of it.

The tests run over NORMS itself: a norm that is registered is tested. Norms without a formula here (a user's own)
are held to their claims alone.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn

from normbench.errors import UsageError
from normbench.norms import NORMS, build_norm, get_norm, reference, register_norm
from normbench.norms.registry import check_norm

CHANNELS = 8
EPS = 1e-5

FORMULAS: dict[str, Callable[[Tensor, dict[str, Any]], Tensor]] = {
    "none": lambda x, o: x.double(),
    "batch": lambda x, o: reference.ghost(x, len(x) // o.get("virtual_devices", 1), o.get("eps", EPS)),
    "sync_batch": lambda x, o: reference.batch(x, o.get("eps", EPS)),
    "ghost": lambda x, o: reference.ghost(x, o.get("size", 16), o.get("eps", EPS)),
    "layer": lambda x, o: reference.layer(x, o.get("eps", EPS)),
    "instance": lambda x, o: reference.instance(x, o.get("eps", EPS)),
    "group": lambda x, o: reference.group(x, o.get("groups", 8), o.get("eps", EPS)),
}
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "batch": [{}, {"eps": 0.1, "momentum": 0.3}, {"virtual_devices": 3}],
    "sync_batch": [{}, {"eps": 0.1, "momentum": 0.3}],
    "ghost": [{"size": 4}, {"size": 6, "momentum": 0.3, "eps": 0.1}, {"size": 32}],
    "layer": [{}, {"eps": 0.1}],
    "instance": [{}, {"eps": 0.1}],
    "group": [{"groups": 1}, {"groups": 2}, {"groups": 4, "eps": 0.1}, {"groups": 8}],
}


@register_norm("root_mean_square", axes="(C, H, W)", scope="sample", same_in_eval=True)
def root_mean_square(num_channels: int, spatial: bool = True, eps: float = 1e-5) -> nn.Module:
    """A user's norm: the tests below cover it because it is registered."""

    class RootMeanSquare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(num_channels))

        def forward(self, x: Tensor) -> Tensor:
            scale = x.square().mean(tuple(range(1, x.dim())), keepdim=True).add(eps).rsqrt()
            return x * scale * self.weight.view(1, -1, *[1] * (x.dim() - 2))

    return RootMeanSquare()


def fits(name: str, spatial: bool, options: dict[str, Any]) -> bool:
    """Whether the norm can be built at all."""
    try:
        check_norm(name, CHANNELS, spatial, options)
    except UsageError:
        return False
    return True


CASES = [
    pytest.param(name, spatial, options, id=f"{name}-{'spatial' if spatial else 'linear'}-{options or 'default'}")
    for name in NORMS
    for options in VARIANTS.get(name, [{}])
    for spatial in (True, False)
    if fits(name, spatial, options)
]
ARGUMENTS = ("name", "spatial", "options")
every_norm = pytest.mark.parametrize(ARGUMENTS, CASES)
norms_with_formula = pytest.mark.parametrize(ARGUMENTS, [case for case in CASES if case.values[0] in FORMULAS])
spatial_norms = pytest.mark.parametrize(ARGUMENTS, [case for case in CASES if case.values[1]])


def images(spatial: bool, seed: int = 0, count: int = 12, dtype: torch.dtype = torch.float32) -> Tensor:
    """Inputs whose channels and images differ in mean and scale, so that no two norms agree by chance."""
    make = torch.Generator().manual_seed(seed)
    shape = (count, CHANNELS, 5, 3) if spatial else (count, CHANNELS)
    x = torch.randn(shape, generator=make, dtype=torch.float64)
    each = (-1, 1, *[1] * (x.dim() - 2))
    x = x * torch.linspace(0.5, 2, CHANNELS).view(1, *([-1, *[1] * (x.dim() - 2)])) + torch.arange(
        CHANNELS, dtype=torch.float64
    ).view(1, -1, *[1] * (x.dim() - 2))
    return (x * torch.linspace(0.7, 1.5, count, dtype=torch.float64).view(each)).to(dtype)


def build(name: str, spatial: bool, options: dict[str, Any]) -> nn.Module:
    """The layer, with gamma and beta that are not one and zero."""
    layer = build_norm(name, CHANNELS, spatial, **options)
    make = torch.Generator().manual_seed(9)
    for parameter in layer.parameters():
        parameter.data.uniform_(0.5, 2, generator=make)
    return layer


def formula(layer: nn.Module, name: str, options: dict[str, Any], x: Tensor) -> Tensor:
    """What the layer should give in training."""
    y = FORMULAS[name](x, options)
    return y if isinstance(layer, nn.Identity) else reference.affine(y, layer.weight, layer.bias)


def test_every_norm_of_the_package_has_a_formula() -> None:
    own = {name for name, norm in NORMS.items() if norm.build.__module__.startswith("normbench.norms")}
    assert own == set(FORMULAS)


@norms_with_formula
def test_training_output_is_the_formula(name: str, spatial: bool, options: dict[str, Any]) -> None:
    layer, x = build(name, spatial, options), images(spatial)
    torch.testing.assert_close(layer(x).double(), formula(layer, name, options, x), rtol=1e-4, atol=2e-5)


@norms_with_formula
def test_gradients_are_those_of_the_formula(name: str, spatial: bool, options: dict[str, Any]) -> None:
    layer = build(name, spatial, options).double()
    x = images(spatial, dtype=torch.float64).requires_grad_()
    weights = torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    inputs = [x, *layer.parameters()]
    expected = torch.autograd.grad((formula(layer, name, options, x) * weights).sum(), inputs)
    actual = torch.autograd.grad((layer(x) * weights).sum(), inputs)
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-8)


@every_norm
def test_gradients_are_those_of_finite_differences(name: str, spatial: bool, options: dict[str, Any]) -> None:
    layer = build(name, spatial, options).double()
    x = images(spatial, dtype=torch.float64)[..., :2, :2] if spatial else images(spatial, dtype=torch.float64)
    assert torch.autograd.gradcheck(layer, (x.clone().requires_grad_(),), fast_mode=True)


@pytest.mark.parametrize("spatial", [True, False])
@pytest.mark.parametrize(
    ("name", "options", "parts"),
    [
        ("batch", {}, [slice(0, 12)]),
        ("batch", {"momentum": 0.4}, [slice(0, 12)]),
        ("batch", {"virtual_devices": 3, "momentum": 0.4}, [slice(0, 4)]),  # rank 0's part alone
        ("sync_batch", {"momentum": 0.4}, [slice(0, 12)]),
        ("ghost", {"size": 4, "momentum": 0.4}, [slice(0, 4), slice(4, 8), slice(8, 12)]),
    ],
)
def test_running_averages_hold_the_unbiased_variance(
    name: str, options: dict[str, Any], parts: list[slice], spatial: bool
) -> None:
    layer = build(name, spatial, options)
    momentum = options.get("momentum", 0.1)
    mean, var = torch.zeros(CHANNELS), torch.ones(CHANNELS)
    for seed in range(3):
        x = images(spatial, seed)
        layer(x)
        for part in parts:
            new_mean, new_var = reference.batch_statistics(x[part])
            mean = reference.moved_average(mean, new_mean, momentum)
            var = reference.moved_average(var, new_var, momentum)
    torch.testing.assert_close(layer.running_mean.double(), mean, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(layer.running_var.double(), var, rtol=1e-5, atol=1e-5)
    assert layer.num_batches_tracked == 3 * len(parts)

    x = images(spatial, 7)
    before = {key: value.clone() for key, value in layer.state_dict().items()}
    shape = [1, -1] + [1] * (x.dim() - 2)
    y = (x.double() - mean.view(shape)) / torch.sqrt(var.view(shape) + EPS)
    torch.testing.assert_close(
        layer.eval()(x).double(), reference.affine(y, layer.weight, layer.bias), rtol=1e-4, atol=1e-4
    )
    for key, value in layer.state_dict().items():
        assert torch.equal(value, before[key]), f"evaluation moved {key}"


@every_norm
def test_dtype_is_kept(name: str, spatial: bool, options: dict[str, Any]) -> None:
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        layer = build(name, spatial, options).to(dtype)
        assert layer(images(spatial, dtype=dtype)).dtype == dtype
        assert layer.eval()(images(spatial, dtype=dtype)).dtype == dtype


@spatial_norms
def test_channels_last_gives_the_same_numbers_in_the_same_layout(
    name: str, spatial: bool, options: dict[str, Any]
) -> None:
    layer, other = build(name, spatial, options), build(name, spatial, options)
    x = images(spatial)
    y = other(x.to(memory_format=torch.channels_last))
    torch.testing.assert_close(y, layer(x), rtol=1e-5, atol=1e-5)
    for (key, one), two in zip(layer.state_dict().items(), other.state_dict().values(), strict=True):
        torch.testing.assert_close(one, two, msg=key)
    # A copy to NCHW and back would be charged to this norm alone.
    assert y.is_contiguous(memory_format=torch.channels_last)


@every_norm
def test_same_in_evaluation_where_claimed(name: str, spatial: bool, options: dict[str, Any]) -> None:
    layer, x = build(name, spatial, options), images(spatial)
    training = layer(x)
    assert torch.equal(layer.eval()(x), training) == get_norm(name).same_in_eval


@every_norm
def test_other_images_matter_only_where_the_scope_says_so(name: str, spatial: bool, options: dict[str, Any]) -> None:
    layer, x = build(name, spatial, options), images(spatial)
    changed = x.clone()
    changed[1:] = changed[1:].flip(0) * 3 - 1
    alone = torch.equal(layer(x)[0], layer(changed)[0])
    assert alone == (get_norm(name).scope in {"none", "sample"})


@every_norm
def test_a_bias_is_cancelled_exactly_where_claimed(name: str, spatial: bool, options: dict[str, Any]) -> None:
    layer, x = build(name, spatial, options).double(), images(spatial, dtype=torch.float64)
    bias = torch.linspace(-1, 1, CHANNELS, dtype=torch.float64).view(1, -1, *[1] * (x.dim() - 2))
    cancelled = torch.allclose(layer(x + bias), layer(x), rtol=1e-9, atol=1e-9)
    assert cancelled == get_norm(name).cancels(CHANNELS, options)


def test_which_norms_cancel_a_bias() -> None:
    assert {name: get_norm(name).cancels(CHANNELS, {}) for name in FORMULAS} == {
        "none": False,
        "batch": True,
        "sync_batch": True,
        "ghost": True,
        "layer": False,
        "instance": True,
        "group": True,  # 8 groups of 8 channels
    }
    assert not get_norm("group").cancels(CHANNELS, {"groups": 2})
    assert not get_norm("group").cancels(16, {})


@pytest.mark.parametrize("spatial", [True, False])
def test_one_group_is_layer_norm(spatial: bool) -> None:
    x = images(spatial)
    assert torch.equal(build("group", spatial, {"groups": 1})(x), build("layer", spatial, {})(x))


def test_as_many_groups_as_channels_is_instance_norm() -> None:
    x = images(True)
    grouped = build("group", True, {"groups": CHANNELS})(x)
    assert torch.equal(grouped, build("instance", True, {})(x))
    torch_own = nn.InstanceNorm2d(CHANNELS, affine=True)
    torch_own.load_state_dict(build("instance", True, {}).state_dict())
    torch.testing.assert_close(grouped, torch_own(x))


def test_layer_norm_is_neither_of_the_other_two_of_that_name() -> None:
    layer = build_norm("layer", CHANNELS)
    assert sum(p.numel() for p in layer.parameters()) == 2 * CHANNELS  # not C·H·W weights
    x = images(True)
    per_pixel = nn.functional.layer_norm(x.permute(0, 2, 3, 1), [CHANNELS]).permute(0, 3, 1, 2)
    assert not torch.allclose(layer(x), per_pixel, atol=0.1)
    torch.testing.assert_close(layer(x), nn.functional.layer_norm(x, x.shape[1:]))


@pytest.mark.parametrize("spatial", [True, False])
def test_sync_batch_in_one_process_is_batch(spatial: bool) -> None:
    one, other = build("batch", spatial, {}), build("sync_batch", spatial, {})
    x = images(spatial)
    assert torch.equal(one(x), other(x))
    assert torch.equal(one.running_var, other.running_var)
    assert torch.equal(one.eval()(x), other.eval()(x))


@pytest.mark.parametrize("name", ["ghost", "batch"])
def test_parts_that_do_not_divide_the_batch_are_an_error(name: str) -> None:
    layer = build(name, True, {"size": 5} if name == "ghost" else {"virtual_devices": 5})
    with pytest.raises(ValueError, match=r"batch of 12 images .*5"):
        layer(images(True))
    layer.eval()(images(True))  # evaluation has no parts


def test_a_single_value_for_each_statistic_is_an_error() -> None:
    for name in ("batch", "sync_batch", "ghost"):
        with pytest.raises(ValueError, match="more than 1 value per channel"):
            build(name, False, {})(torch.ones(1, CHANNELS))
    with pytest.raises(ValueError, match="more than one position"):
        build("instance", True, {})(torch.ones(2, CHANNELS, 1, 1))


@pytest.mark.parametrize(
    ("name", "spatial", "options", "said"),
    [
        ("bach", True, {}, r"unknown norm 'bach': did you mean 'batch'\? known: batch, ghost, group, instance, layer"),
        ("group", True, {"groups": 3}, r"groups=3 does not divide 8 channels: choose one of 1, 2, 4, 8$"),
        ("group", True, {"groups": 0}, r"groups=0 does not divide"),
        ("group", True, {"groups": 2.0}, r"groups=2\.0 does not divide"),
        ("group", False, {"groups": 8}, r"leaves one value in each group on a linear layer of 8 units"),
        ("instance", False, {}, r"norm 'instance' has nothing to average .*: choose another norm"),
        ("batch", True, {"epsilon": 1}, r"unknown option of norm 'batch' 'epsilon': did you mean 'eps'\? known: eps"),
        ("none", True, {"eps": 1}, r"norm 'none' takes no options"),
        ("ghost", True, {"size": 0}, r"size: a ghost batch has at least one image, not 0"),
    ],
)
def test_what_cannot_be_built_is_named(name: str, spatial: bool, options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        build_norm(name, CHANNELS, spatial, **options)


def test_a_name_that_is_taken_is_refused() -> None:
    before = dict(NORMS)
    with pytest.raises(UsageError, match=r"norm 'batch' is registered already by normbench\.norms\.batch"):
        register_norm("batch", axes="?", scope="device", same_in_eval=True)(
            lambda num_channels, spatial=True: nn.ReLU()
        )
    assert before == NORMS
    # The same builder once more, as a plugin that two workers import, is no clash.
    register_norm("root_mean_square", axes="(C, H, W)", scope="sample", same_in_eval=True)(root_mean_square)


@pytest.mark.parametrize(
    ("name", "batch_size", "devices", "accumulate", "options", "expected"),
    [
        ("none", 64, 4, 2, {}, 0),
        ("layer", 64, 4, 2, {}, 1),
        ("instance", 64, 4, 2, {}, 1),
        ("group", 64, 4, 2, {}, 1),
        ("batch", 64, 1, 1, {}, 64),
        ("batch", 64, 4, 1, {}, 16),
        ("batch", 64, 4, 2, {}, 8),
        ("sync_batch", 64, 4, 1, {}, 64),
        ("sync_batch", 64, 4, 2, {}, 32),
        ("ghost", 64, 1, 1, {"size": 16}, 16),
        ("ghost", 64, 8, 1, {"size": 16}, 8),
        ("ghost", 64, 1, 8, {"size": 16}, 8),
    ],
)
def test_images_per_statistic(
    name: str, batch_size: int, devices: int, accumulate: int, options: dict[str, Any], expected: int
) -> None:
    assert get_norm(name).images_per_statistic(batch_size, devices, accumulate, options) == expected


def _rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    results = {}
    for spatial in (True, False):
        layer = build("sync_batch", spatial, {"momentum": 0.3}).double()
        for step in range(2):
            x = images(spatial, step, dtype=torch.float64).chunk(2)[rank].clone().requires_grad_()
            weights = images(spatial, 50 + step, dtype=torch.float64).chunk(2)[rank]
            layer.zero_grad()
            y = layer(x)
            (y * weights).sum().backward()
        assert x.grad is not None
        results[spatial] = {
            "y": y.detach(),
            "x": x.grad,
            "weight": layer.weight.grad,
            "bias": layer.bias.grad,
            "mean": layer.running_mean,
            "var": layer.running_var,
            "eval": layer.eval()(x).detach(),
            "batches": layer.num_batches_tracked,
        }
    torch.save(results, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_of_sync_batch_are_one_of_batch(tmp_path: Path) -> None:
    mp.spawn(_rank, args=(str(tmp_path),), nprocs=2)
    ranks = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    for spatial in (True, False):
        layer = build("batch", spatial, {"momentum": 0.3}).double()
        for step in range(2):
            x = images(spatial, step, dtype=torch.float64).requires_grad_()
            layer.zero_grad()
            y = layer(x)
            (y * images(spatial, 50 + step, dtype=torch.float64)).sum().backward()
        one, other = (rank[spatial] for rank in ranks)
        close = {"rtol": 1e-10, "atol": 1e-10}
        torch.testing.assert_close(torch.cat([one["y"], other["y"]]), y, **close)
        torch.testing.assert_close(torch.cat([one["x"], other["x"]]), x.grad, **close)
        torch.testing.assert_close(one["weight"] + other["weight"], layer.weight.grad, **close)
        torch.testing.assert_close(one["bias"] + other["bias"], layer.bias.grad, **close)
        torch.testing.assert_close(torch.cat([one["eval"], other["eval"]]), layer.eval()(x).detach(), **close)
        for rank in (one, other):
            torch.testing.assert_close(rank["mean"], layer.running_mean, **close)
            torch.testing.assert_close(rank["var"], layer.running_var, **close)
            assert rank["batches"] == 2
