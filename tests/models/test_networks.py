"""Networks: counts against torch's, blocks that compute what they say, every norm in every model that it fits."""

from typing import Any

import pytest
import torch
import torchinfo
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from normbench.data import MNISTDataModule
from normbench.errors import UsageError
from normbench.models import build_model, macs
from normbench.models.attention import TransformerBlock, sine_positions
from normbench.models.layer import Layer
from normbench.models.registry import completed
from normbench.models.residual import IdentityShortcut
from normbench.norms import Norms, facts
from normbench.seeds import generator
from normbench.spec.registry import MODELS, NORMS
from normbench.spec.schema import ModelConfig
from normbench.train.initialisation import claims, initialise
from tests.models.cases import SMALL, small

GREY, COLOUR = (1, 28, 28), (3, 32, 32)


def walk(model: ModelConfig, image: tuple[int, int, int] = GREY) -> list[Any]:
    layers: list[Any] = MODELS.get(model.name).facts["layers"](completed(model), image, 10)
    return layers


def options(name: str, **values: Any) -> ModelConfig:
    return ModelConfig(name, options=values)


VARIANTS = [
    *(options(name) for name in MODELS),
    options("resnet", blocks=[2, 1], width=5, shortcut="projection"),
    options("resnet", blocks=[1, 2, 1], width=4, preactivation=True, shortcut="projection"),
    options("resnet", blocks=[1, 1], width=4, preactivation=True),
    options("vit", patch=2, width=12, depth=1, heads=3, mlp_ratio=2),
    options("convnext", blocks=[1, 2], width=6, patch=1),
    options("cnn", channels=[4, 6, 8], kernel_size=[5, 3, 2], stride=[2, 1, 1], padding=[2, "valid", "same"],
            pool=["none", "average", "max"], head="mean", hidden=[]),
]  # fmt: skip


@pytest.mark.parametrize("image", [GREY, COLOUR], ids=["grey", "colour"])
@pytest.mark.parametrize("model", VARIANTS, ids=lambda m: f"{m.name}-{m.options or 'default'}")
def test_parameters_and_macs_are_those_of_torch(model: ModelConfig, image: tuple[int, int, int]) -> None:
    layers, norm = walk(model, image), completed(model).norm
    net = build_model(model, image)
    with FlopCounterMode(display=False) as counter:
        net(torch.randn(2, *image))
    assert counter.get_total_flops() == 2 * 2 * macs(layers)
    of_norms = sum(facts(str(norm)).parameters(layer.site.channels) for layer in layers if layer.site)
    assert sum(layer.parameters for layer in layers) + of_norms == sum(p.numel() for p in net.parameters())


def as_torchinfo_counts(layer: Layer) -> int:
    """Multiply-adds of a layer for one image by torchinfo's rule.

    That differs from ours in three things: a bias counts as a weight does, a linear layer on tokens counts for one
    of its positions only, and attention's products, which belong to no module with weights, do not count at all. (A
    weight that is parametrised is not seen either, so no norm of weights is among the variants.)
    """
    positions = layer.outputs[1] * layer.outputs[2] if layer.spatial else 1
    return (layer.weights + layer.bias * layer.outputs[0]) * positions


@pytest.mark.parametrize("image", [GREY, COLOUR], ids=["grey", "colour"])
@pytest.mark.parametrize("model", VARIANTS, ids=lambda m: f"{m.name}-{m.options or 'default'}")
def test_parameters_and_macs_are_those_of_torchinfo(model: ModelConfig, image: tuple[int, int, int]) -> None:
    layers, norm = walk(model, image), completed(model).norm
    of_norms = sum(facts(str(norm)).parameters(layer.site.channels) for layer in layers if layer.site)
    found = torchinfo.summary(build_model(model, image), (2, *image), depth=9, verbose=0)
    assert found.total_params == sum(layer.parameters for layer in layers) + of_norms
    # What a norm scales and adds counts once for each of its parameters.
    assert found.total_mult_adds == 2 * (sum(map(as_torchinfo_counts, layers)) + of_norms)


@pytest.mark.parametrize(
    ("name", "image", "parameters"),
    [
        ("lenet", GREY, 61_706),  # Zhang et al., Dive into Deep Learning, section 7.6: LeNet-5 on 28 x 28
        ("resnet20", COLOUR, 269_722),  # He et al. 2016, table 6: 0.27 million
    ],
)
def test_published_numbers_of_parameters(name: str, image: tuple[int, int, int], parameters: int) -> None:
    assert sum(p.numel() for p in build_model(ModelConfig(name), image).parameters()) == parameters


def test_a_list_of_equal_values_is_the_single_value() -> None:
    one, listed = (
        build_model(options("cnn", kernel_size=k, padding=p, stride=s, pool=q))
        for k, p, s, q in ((5, "same", 1, "max"), ([5, 5], ["same", "same"], [1, 1], ["max", "max"]))
    )
    assert str(one) == str(listed)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (options("cnn", kernel_size=[3]), r"model\.kernel_size: 1 values for the 2 convolutions"),
        (options("vit", patch=5), r"model\.patch=5 does not divide images of 28x28"),
        (options("vit", width=10), r"model\.width=10: choose a multiple of 4"),
        (options("resnet", preactivation=True, zero_gamma=True), "no norm ends the branches"),
    ],
)
def test_what_cannot_be_built_is_named(model: ModelConfig, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        walk(model)


# Every norm in every model that it fits.


@pytest.mark.parametrize("norm", list(NORMS))
@pytest.mark.parametrize("name", list(MODELS))
def test_every_norm_in_every_model(name: str, norm: str) -> None:
    config = small(name, norm)
    if isinstance(config, str):
        pytest.skip(config)
    net = initialise(lambda: build_model(config.model), 0)
    assert claims(net).keys() == {key for key, _ in (*net.named_parameters(), *net.named_buffers())}
    wants = {layer.name for layer in walk(config.model) if layer.site}
    built = Norms(norm, config.model.norm_options).build(16)
    assert sum(type(module) is type(built) for module in net.modules()) >= len(wants)
    logits = net(torch.randn(16, *GREY, generator=generator(0, "x")))
    logits.square().mean().backward()
    for key, parameter in net.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key


ON_WEIGHTS = [name for name in NORMS if NORMS.get(name).facts.get("weights")]


@pytest.mark.parametrize("norm", [name for name in NORMS if name != "none" and name not in ON_WEIGHTS])
@pytest.mark.parametrize("name", ["resnet8", "plain", "vit", "convnext"])
def test_norms_of_a_seed_start_from_the_same_weights(name: str, norm: str) -> None:
    found = [small(name, one) for one in ("none", norm)]
    if isinstance(found[1], str):
        pytest.skip(found[1])
    plain, normed = (initialise(lambda c=c: build_model(c.model), 3) for c in found)  # type: ignore[union-attr]
    weights = dict(normed.named_parameters())
    for key, value in plain.named_parameters():
        if key in weights and norm != "fixup":  # whose first values are others on purpose: test_branches
            assert torch.equal(value, weights[key]), key
    assert {key for key, _ in plain.named_parameters() if key.endswith("weight")} <= weights.keys()


@pytest.mark.parametrize("name", list(MODELS))
def test_every_model_learns_a_batch_of_digits(name: str) -> None:
    config = small(name, MODELS.get(name).facts["norm"])
    assert not isinstance(config, str)
    data = MNISTDataModule("mnist_5k", batch_size=16)
    data.setup()
    images, labels = next(iter(data.train_dataloader()))
    net = initialise(lambda: build_model(config.model), 0)
    optimizer = torch.optim.Adam(net.parameters(), 0.01)
    losses = []
    for _ in range(30):
        loss = nn.functional.cross_entropy(net(images), labels)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.9 * losses[0]


# What the blocks compute.


def test_a_residual_block_starts_as_its_shortcut_with_zero_gamma() -> None:
    net = initialise(lambda: build_model(options("resnet", blocks=[1, 1], width=4, zero_gamma=True)), 0)
    x = torch.randn(3, 4, 8, 8, generator=generator(0, "x")).relu()
    torch.testing.assert_close(net.get_submodule("stage0.block0")(x), x)
    assert claims(net)["stage0.block0.end.norm.weight"] == "fixed"
    short = net.get_submodule("stage1.block0")(x)
    assert torch.equal(short[:, :4], x[:, :, ::2, ::2])
    assert not short[:, 4:].any()


@pytest.mark.parametrize("norm", ["batch", "group + weight_std", "weight_std + batch", "group + scaled_weight_std"])
def test_zero_gamma_is_that_of_a_compound_norm_too(norm: str) -> None:
    """Only that which ends a branch is zero, and what acts on the weights keeps its own scale."""
    norm_options = {"groups": 2} if "group" in norm else {}
    config = ModelConfig("resnet", norm, norm_options, options={"blocks": [1, 1], "width": 4, "zero_gamma": True})
    net = initialise(lambda: build_model(config), 0)
    x = torch.randn(3, 4, 8, 8, generator=generator(0, "x")).relu()
    torch.testing.assert_close(net.get_submodule("stage0.block0")(x), x)
    scales = {key for key, one in net.named_parameters() if key.endswith(("norm.weight", "norm.norm.weight"))}
    ends = {key for key in scales if ".end." in key}
    assert len(ends) == 2
    for key in scales:
        assert net.get_parameter(key).any() != (key in ends), key
    for key, one in net.named_parameters():
        assert not key.endswith("gain") or one.all(), key


def test_a_plain_network_is_the_residual_one_without_what_is_carried_past() -> None:
    plain, residual = (
        initialise(lambda name=name: build_model(options(name, blocks=[1], width=4)), 0) for name in ("plain", "resnet")
    )
    x = torch.randn(3, 4, 8, 8, generator=generator(0, "x"))
    block = residual.get_submodule("stage0.block0")
    without = block.end(block.conv2(block.between(block.conv1(x)))).relu()  # type: ignore[operator]
    torch.testing.assert_close(plain.get_submodule("stage0.block0")(x), without)
    assert not torch.equal(block(x), without)


def test_preactivation_carries_x_through_unchanged() -> None:
    net = build_model(options("resnet", blocks=[1], width=4, preactivation=True))
    block = net.get_submodule("stage0.block0")
    nn.init.zeros_(block.get_parameter("conv2.weight"))
    nn.init.zeros_(block.get_parameter("conv2.bias"))  # the next norm takes a sum: its bias is not redundant
    x = torch.randn(2, 4, 5, 5)
    assert torch.equal(block(x), x)


def test_the_identity_shortcut_takes_every_second_pixel() -> None:
    x = torch.arange(25.0).view(1, 1, 5, 5)
    y = IdentityShortcut(2, 1)(x)
    assert y.shape == (1, 2, 3, 3)
    assert y[0, 0].tolist() == [[0, 2, 4], [10, 12, 14], [20, 22, 24]]


def test_attention_is_torchs() -> None:
    net = build_model(options("vit", width=16, depth=1, heads=4)).double()
    block = next(module for module in net.modules() if isinstance(module, TransformerBlock))
    tokens = torch.randn(2, 49, 16, dtype=torch.float64)
    query, key, value = block.qkv(tokens).view(2, 49, 3, 4, 4).permute(2, 0, 3, 1, 4)
    expected: Tensor = nn.functional.scaled_dot_product_attention(query, key, value)
    torch.testing.assert_close(block.attended(tokens), expected.transpose(1, 2).reshape(2, 49, 16))


def test_positions_differ_and_their_number_does_not_change_them() -> None:
    table = sine_positions(3, 4, 16)
    assert table.shape == (12, 16)
    assert len({tuple(row) for row in table.tolist()}) == 12
    assert torch.equal(table[:4], sine_positions(1, 4, 16))


def test_the_small_sizes_are_of_models_that_exist() -> None:
    assert SMALL.keys() <= set(MODELS)
