"""Norms against the implementations that others maintain: torch's, torchvision's, timm's and, on torch, keras's."""

import os
from collections.abc import Callable
from typing import Any

import pytest
import torch
from timm import layers as timm
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import FrozenBatchNorm2d

from normbench.norms import build_norm
from tests.norms.cases import CHANNELS, build, images

CLOSE = {"rtol": 1e-9, "atol": 1e-9}
SINGLE = {"rtol": 1e-5, "atol": 5e-5}
Build = Callable[[], nn.Module]


def theirs(layer: nn.Module, ours: nn.Module, **names: str) -> nn.Module:
    """Their layer with our parameters: of the same names, or of those given as theirs=ours."""
    own = dict(ours.named_parameters())
    for name, parameter in layer.named_parameters():
        parameter.data = own[names.get(name, name)].detach().reshape(parameter.shape).clone()
    return layer.double()


def agree(
    ours: nn.Module,
    other: Callable[[Tensor], Tensor],
    layout: str = "image",
    seed: int = 0,
    close: dict[str, float] = CLOSE,
) -> None:
    """The same values, and the same gradients of the input, in float64."""
    x = images(layout, seed, dtype=torch.float64).requires_grad_()
    weights = images(layout, 11, dtype=torch.float64)
    one, two = ours(x), other(x)
    torch.testing.assert_close(one, two, **close)
    given, wanted = (torch.autograd.grad((y * weights).sum(), x)[0] for y in (one, two))
    torch.testing.assert_close(given, wanted, **close)


def test_torch() -> None:
    rms = build("rms", {}).double()
    agree(rms, theirs(nn.RMSNorm(CHANNELS, eps=1e-6), rms), "vector")
    agree(build_norm("rms", CHANNELS).double(), lambda x: F.rms_norm(x, x.shape[1:], eps=1e-6))
    agree(build("local_response", {"size": 3, "alpha": 0.2}).double(), nn.LocalResponseNorm(3, 0.6, 0.75, 2.0))
    channels = build("layer_channels", {}).double()
    twin = theirs(nn.LayerNorm(CHANNELS, eps=1e-6), channels)
    agree(channels, lambda x: twin(x.movedim(1, -1)).movedim(-1, 1))
    for name in ("batch", "layer"):
        x = images("image", dtype=torch.float64)
        torch.testing.assert_close(build(f"detached_{name}", {}).double()(x), build(name, {}).double()(x), **CLOSE)


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize(
    ("name", "options", "other", "names"),
    [
        ("filter_response", {"learnable_eps": False}, timm.FilterResponseNormTlu2d, {"tau": "threshold"}),
        ("evonorm_s0", {"groups": 2, "eps": 1e-5}, timm.EvoNorm2dS0, {"v": "slope"}),
        ("evonorm_b0", {"eps": 1e-3}, timm.EvoNorm2dB0, {"v": "slope"}),
        ("layer_channels", {}, timm.LayerNorm2d, {}),
        ("group", {"groups": 4}, timm.GroupNorm, {}),
        ("layer", {}, timm.GroupNorm1, {}),
    ],
)
def test_timm(name: str, options: dict[str, Any], other: Any, names: dict[str, str], training: bool) -> None:
    ours = build(name, options).double()
    asked = {"group": {"num_groups": 4}, "evonorm_s0": {"groups": 2}}.get(name, {})
    eps = ours.eps if hasattr(ours, "eps") else None
    twin = theirs(other(CHANNELS, **asked, **({} if eps is None else {"eps": eps})), ours, **names)
    for seed in range(2):  # running averages leave their first values
        for layer in (ours, twin):
            layer(images("image", seed, dtype=torch.float64))
    ours.train(training)
    twin.train(training)
    # Those that take the activation's place have their statistics in single precision there.
    agree(ours, twin, close=SINGLE if names else CLOSE)


def test_ghost_batches_are_timms_split_batch_norm() -> None:
    ours = build("ghost", {"size": 4}).double()
    twin = timm.SplitBatchNorm2d(CHANNELS, num_splits=3)
    for part in (twin, *twin.aux_bn):
        part.weight.data, part.bias.data = ours.weight.detach().clone(), ours.bias.detach().clone()
    agree(ours, twin.double())


@pytest.mark.parametrize(
    ("name", "options", "other"),
    [
        ("weight_std", {"eps": 1e-6}, lambda: timm.StdConv2d(3, CHANNELS, 3, padding=1, bias=True, eps=1e-6)),
        (
            "scaled_weight_std",
            {"gain": 1.7, "eps": 1e-12},
            lambda: timm.ScaledStdConv2d(3, CHANNELS, 3, padding=1, gamma=1.7, eps=1e-12),
        ),
    ],
)
def test_timms_standardised_convolutions(name: str, options: dict[str, Any], other: Build) -> None:
    ours, twin = nn.Conv2d(3, CHANNELS, 3, padding=1).double(), other().double()
    twin.load_state_dict(ours.state_dict(), strict=False)  # the gain is theirs, at first one, as ours
    build_norm(name, CHANNELS, **options).reparametrize(ours)
    x = torch.randn(4, 3, 6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(ours(x), twin(x), rtol=1e-8, atol=1e-8)


def test_frozen_statistics_are_torchvisions() -> None:
    layer = build("frozen_batch", {"share": 0.25})
    for step in range(3):
        layer.set_step(step, 12)
        layer(images("image", step))
    layer.set_step(3, 12)
    kept = {key: value.clone() for key, value in layer.state_dict().items()}
    x = images("image", 7)
    y = layer(x)
    assert all(torch.equal(value, kept[key]) for key, value in layer.state_dict().items())
    twin = FrozenBatchNorm2d(CHANNELS)
    twin.load_state_dict({key: value for key, value in kept.items() if key != "num_batches_tracked"})
    torch.testing.assert_close(y, twin(x), rtol=1e-5, atol=1e-5)
    assert torch.equal(y, layer.eval()(x))


# Keras has channels last, and computes these in single precision whatever the input.


@pytest.fixture(scope="module")
def keras() -> Any:
    before = os.environ.get("KERAS_BACKEND")
    os.environ["KERAS_BACKEND"] = "torch"  # read when it is imported
    try:
        import keras as module
    finally:
        if before is None:
            del os.environ["KERAS_BACKEND"]
        else:
            os.environ["KERAS_BACKEND"] = before
    return module


def by_keras(layer: Any, ours: nn.Module, **call: Any) -> Callable[[Tensor], Tensor]:
    """Their layer, built and with our gamma and beta, on channels first."""
    if not layer.built:
        layer.build((None, 5, 3, CHANNELS))
    layer.gamma.assign(ours.weight.detach())
    if getattr(layer, "beta", None) is not None:
        layer.beta.assign(ours.bias.detach())
    return lambda x: layer(x.movedim(1, -1), **call).movedim(-1, 1).to(x.dtype)


@pytest.mark.parametrize(
    ("name", "options", "other", "asked"),
    [
        ("batch", {"eps": 0.01}, "BatchNormalization", {"epsilon": 0.01}),
        ("layer_channels", {"eps": 0.01}, "LayerNormalization", {"epsilon": 0.01}),
        ("group", {"groups": 4, "eps": 0.01}, "GroupNormalization", {"groups": 4, "epsilon": 0.01}),
        ("layer", {"eps": 0.01}, "GroupNormalization", {"groups": 1, "epsilon": 0.01}),
        ("instance", {"eps": 0.01}, "GroupNormalization", {"groups": -1, "epsilon": 0.01}),
    ],
)
def test_keras(keras: Any, name: str, options: dict[str, Any], other: str, asked: dict[str, Any]) -> None:
    ours = build(name, options).double()
    layer = getattr(keras.layers, other)(**asked)
    agree(ours, by_keras(layer, ours, **({"training": True} if name == "batch" else {})), close=SINGLE)


@pytest.mark.parametrize("step", [0, 15, 60])
def test_batch_renorm_is_kerass(keras: Any, step: int) -> None:
    """Values, gradients and running averages of three batches, before, on and after the ramp."""
    ours = build("batch_renorm", {"eps": 0.01, "momentum": 0.3}).double()
    ours.set_step(step, 100)
    clipping = {"rmin": 1 / ours.r_max, "rmax": ours.r_max, "dmax": ours.d_max}
    layer = keras.layers.BatchNormalization(
        epsilon=0.01, momentum=0.7, renorm=True, renorm_momentum=0.7, renorm_clipping=clipping
    )
    training = by_keras(layer, ours, training=True)
    for seed in range(3):
        agree(ours, training, seed=seed, close=SINGLE)
    torch.testing.assert_close(ours.running_mean, layer.moving_mean.value.detach().double(), **SINGLE)
    torch.testing.assert_close(ours.running_std, layer.moving_stddev.value.detach().double(), **SINGLE)
    agree(ours.eval(), by_keras(layer, ours, training=False), close=SINGLE)
