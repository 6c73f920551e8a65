"""Without norm but built for it: what skip_init and fixup do to a residual network, and who refuses them."""

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from normbench.errors import UsageError
from normbench.models import build_model
from normbench.models.registry import completed
from normbench.norms import NORMS
from normbench.seeds import generator
from normbench.spec import resolve, run_config
from normbench.spec.registry import MODELS
from normbench.spec.schema import ModelConfig
from normbench.train.initialisation import Rule, claims, initialise
from tests.models.test_models import agrees_with_what_is_built

METHODS = [name for name in NORMS if NORMS.get(name).facts.get("branch")]


SMALL: dict[str, dict[str, Any]] = {
    "resnet": {"blocks": [2, 1], "width": 8},
    "vit": {"depth": 2, "width": 8, "heads": 2},
    "convnext": {"blocks": [2, 1], "width": 8},
}
# Of each branch: its layers, the last last.
BRANCHES = {
    "vit": [(f"block{i}.{a}", f"block{i}.{z}") for i in (0, 1) for a, z in (("qkv", "projection"), ("up", "down"))],
    "convnext": [
        tuple(f"stage{s}.block{b}.{key}" for key in ("depthwise", "up", "down")) for s, b in ((0, 0), (0, 1), (1, 0))
    ],
}


def network(norm: str, rule: Rule | None = None, seed: int = 0, model: str = "resnet", **options: Any) -> nn.Module:
    config = ModelConfig(model, norm=norm, options={**SMALL[model], **options})
    return initialise(lambda: build_model(config, (3, 16, 16)), seed, rule)


def images() -> Tensor:
    return torch.randn(6, 3, 16, 16, generator=generator(0, "x"))


def test_these_are_the_methods() -> None:
    assert METHODS == ["skip_init", "fixup"]


@pytest.mark.parametrize("norm", [*METHODS, "skip_init + weight_std", "skip_init + weight_norm"])
@pytest.mark.parametrize("bias", ["auto", "always", "never", "nowhere"])
def test_layers_as_data_are_the_built_ones(norm: str, bias: str) -> None:
    for shortcut, preactivation in itertools.product(("identity", "projection"), (False, True)):
        keys = {"name": "resnet8", "width": 4, "shortcut": shortcut, "preactivation": preactivation, "bias": bias}
        agrees_with_what_is_built(resolve(run_config({"model": {**keys, "norm": norm}, "data.name": "mnist_5k"})).model)
    for name in ("vit_tiny", "convnext_tiny"):
        keys = {"name": name, "bias": bias, "norm": norm}
        agrees_with_what_is_built(resolve(run_config({"model": keys, "data.name": "mnist_5k"})).model)


@pytest.mark.parametrize("preactivation", [False, True])
@pytest.mark.parametrize("bias", ["auto", "always"])
@pytest.mark.parametrize("norm", METHODS)
def test_every_block_starts_as_its_shortcut(norm: str, bias: str, preactivation: bool) -> None:
    net = network(norm, bias=bias, preactivation=preactivation)
    x = torch.randn(3, 8, 6, 6, generator=generator(0, "x")).relu()
    for name in ("stage0.block0", "stage0.block1"):
        assert torch.equal(net.get_submodule(name)(x), x)
    assert torch.equal(net(images()), torch.zeros(6, 10)) == (norm == "fixup")


@pytest.mark.parametrize("bias", ["auto", "always"])
@pytest.mark.parametrize("norm", METHODS)
def test_every_block_of_the_others_starts_as_what_comes_in(norm: str, bias: str) -> None:
    vit, convnext = (network(norm, bias=bias, model=name) for name in BRANCHES)
    tokens, maps = torch.randn(3, 16, 8, generator=generator(0, "x")), torch.randn(3, 8, 6, 6)
    for net, name, x in ((vit, "block1", tokens), (convnext, "stage0.block1", maps)):
        assert torch.equal(net.get_submodule(name)(x), x)
        assert torch.equal(net(images()), torch.zeros(6, 10)) == (norm == "fixup")


@pytest.mark.parametrize("keys", [{"preactivation": False}, {"preactivation": True}, *({"model": m} for m in BRANCHES)])
@pytest.mark.parametrize("norm", METHODS)
def test_every_scalar_comes_to_move(norm: str, keys: dict[str, Any]) -> None:
    """The zeros at the start let gradients through one after the other: to the classifier, to the ends of branches."""
    net = network(norm, Rule("he_normal"), **keys)
    labels, optimizer = torch.arange(6) % 3, torch.optim.SGD(net.parameters(), 0.05)
    before = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(images()), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    for name, parameter in net.named_parameters():
        assert not torch.equal(parameter, before[name]), name


@pytest.mark.parametrize("model", list(BRANCHES))
def test_skip_init_adds_one_number_to_each_branch_of_the_others(model: str) -> None:
    plain = dict(network("none", model=model).named_parameters())
    built = dict(network("skip_init", model=model).named_parameters())
    assert built.keys() - plain.keys() == {f"{branch[-1]}.branch_scale" for branch in BRANCHES[model]}
    for name, value in plain.items():
        assert torch.equal(built[name], value), name


@pytest.mark.parametrize(
    ("model", "powers"),
    [
        ("vit", {"qkv": 4 ** (-1 / 6), "up": 4 ** (-1 / 2)}),  # L = 4; m = 4 in attention, 2 in the MLP
        ("convnext", {"depthwise": 3 ** (-1 / 4), "up": 3 ** (-1 / 4)}),  # L = 3, m = 3
    ],
)
def test_fixup_starts_the_others_from_those_weights_times_its_factor(model: str, powers: dict[str, float]) -> None:
    rule = Rule("he_normal")
    plain, net = dict(network("none", rule, model=model).named_parameters()), network("fixup", rule, model=model)
    zero = {f"{branch[-1]}.weight" for branch in BRANCHES[model]} | {"output.weight", "output.bias"}
    for name, value in net.named_parameters():
        layer = name.split(".")[-2]
        if name in zero:
            assert not value.any(), name
        elif value.numel() == 1:
            assert value.item() == float(name.endswith("branch_scale")), name
        else:
            expected = plain[name] * (powers[layer] if "block" in name else 1.0)
            torch.testing.assert_close(value, expected, rtol=1e-6, atol=0, msg=name)
    in_branches = [name for name, _ in net.named_parameters() if "block" in name and name.endswith(".bias")]
    assert all(name.endswith("norm.bias") for name in in_branches), "scalars stand in the place of layers' biases"


def test_skip_init_starts_from_the_weights_of_no_norm() -> None:
    plain, built = dict(network("none").named_parameters()), dict(network("skip_init").named_parameters())
    assert built.keys() - plain.keys() == {f"stage{s}.block{b}.conv2.branch_scale" for s, b in ((0, 0), (0, 1), (1, 0))}
    for name, value in plain.items():
        assert torch.equal(built[name], value), name


@pytest.mark.parametrize("rule", [Rule(), Rule("he_normal"), Rule("xavier_uniform")])
def test_fixup_starts_from_those_weights_times_its_factor(rule: Rule) -> None:
    """L^(-1/(2m - 2)) with L = 3 branches of m = 2 layers, and zeros; every scalar is claimed as set by the builder."""
    plain, net = dict(network("none", rule).named_parameters()), network("fixup", rule)
    for name, value in net.named_parameters():
        if name.endswith("conv1.weight"):
            torch.testing.assert_close(value, plain[name] * 3**-0.5, rtol=1e-6, atol=0)
        elif name in {"stem.weight"}:
            assert torch.equal(value, plain[name])
        else:
            assert claims(net)[name] == "fixed"
            assert torch.equal(value, torch.full_like(value, float(name.endswith("branch_scale")))), name


def test_fixups_first_values_have_the_published_spread() -> None:
    """fixup_resnet_cifar.py of the authors: normal with sqrt(2 / (out x 3 x 3)) L^(-1/2), where as many come in."""
    net = initialise(lambda: build_model(ModelConfig("resnet20", norm="fixup"), (3, 32, 32)), 0, Rule("he_normal"))
    for stage, channels in enumerate((16, 32, 64)):
        for block in (1, 2):  # the first of a stage has half as many coming in: fan-in and fan-out differ
            weight = net.get_parameter(f"stage{stage}.block{block}.conv1.weight")
            expected = (2 / (channels * 9)) ** 0.5 * 9**-0.5
            assert weight.std().item() == pytest.approx(expected, rel=4 * (2 * weight.numel()) ** -0.5)
            assert weight.mean().item() == pytest.approx(0, abs=4 * expected * weight.numel() ** -0.5)


def test_fixup_computes_what_its_formula_says() -> None:
    net = network("fixup").double()
    block = net.get_submodule("stage0.block0")
    make = generator(0, "values")
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=make, dtype=torch.float64))
    p = dict(block.named_parameters())
    assert {name for name, value in p.items() if value.numel() == 1} == {
        "conv1.input_bias", "between.norm.bias", "conv2.input_bias", "conv2.branch_scale", "end.norm.bias",
    }  # fmt: skip
    x = torch.randn(2, 8, 5, 5, generator=make, dtype=torch.float64)
    y = nn.functional.conv2d(x + p["conv1.input_bias"], p["conv1.weight"], padding=1)
    y = (y + p["between.norm.bias"]).relu()
    y = nn.functional.conv2d(y + p["conv2.input_bias"], p["conv2.weight"], padding=1)
    y = (x + p["conv2.branch_scale"] * y + p["end.norm.bias"]).relu()
    torch.testing.assert_close(block(x), y)


def with_values(part: nn.Module) -> dict[str, Tensor]:
    """Its parameters, with random values."""
    make = generator(0, "values")
    with torch.no_grad():
        for parameter in part.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=make, dtype=torch.float64))
    return dict(part.named_parameters())


def test_fixup_in_a_transformer_computes_what_its_formula_says() -> None:
    """As the authors' transformer_zero.py, and a scalar before the projection."""
    block = network("fixup", model="vit").double().get_submodule("block1")
    p, linear = with_values(block), nn.functional.linear
    x = torch.randn(2, 16, 8, dtype=torch.float64)
    query, key, value = linear(x + p["norm1.norm.bias"], p["qkv.weight"]).view(2, 16, 3, 2, 4).permute(2, 0, 3, 1, 4)
    mixed = nn.functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(2, 16, 8)
    y = x + p["projection.branch_scale"] * linear(mixed + p["projection.input_bias"], p["projection.weight"])
    hidden = nn.functional.gelu(linear(y + p["norm2.norm.bias"], p["up.weight"]) + p["up.output_bias"])
    y = y + p["down.branch_scale"] * linear(hidden + p["down.input_bias"], p["down.weight"])
    torch.testing.assert_close(block(x), y)
    assert len(p) == 4 + 2 + 1 + 2 + 2, "four weights, and the scalars named here"


def test_fixup_in_convnext_computes_what_its_formula_says() -> None:
    block = network("fixup", model="convnext").double().get_submodule("stage0.block1")
    p, conv = with_values(block), nn.functional.conv2d
    x = torch.randn(2, 8, 5, 5, dtype=torch.float64)
    y = conv(x + p["depthwise.input_bias"], p["depthwise.weight"], padding=3, groups=8)
    y = nn.functional.gelu(conv(y + p["norm.bias"], p["up.weight"]) + p["up.output_bias"])
    y = x + p["down.branch_scale"] * conv(y + p["down.input_bias"], p["down.weight"])
    torch.testing.assert_close(block(x), y)
    assert len(p) == 3 + 5


def test_fixup_has_as_many_parameters_as_the_authors_network() -> None:
    """Their fixup_resnet20: weights, the classifier's ten biases, and scalars: five in each block and two besides."""
    net = build_model(ModelConfig("resnet20", norm="fixup"), (3, 32, 32))
    weights = sum(m.weight.numel() for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear))
    assert sum(p.numel() for p in net.parameters()) == weights + 10 + 2 + 5 * 9


@pytest.mark.parametrize("norm", METHODS)
@pytest.mark.parametrize("model", [name for name in MODELS if not MODELS.get(name).facts["branches"]])
def test_a_model_without_branches_for_it_refuses(model: str, norm: str) -> None:
    said = rf"^model.norm={norm} changes the branches .* model '{model}' builds none for it: choose a model that does"
    for check in (resolve, lambda run: build_model(completed(run.model))):
        with pytest.raises(UsageError, match=said):
            check(run_config({"model": {"name": model, "norm": norm}, "data.name": "mnist_5k"}))


def test_fixup_goes_with_no_norm_of_weights() -> None:
    with pytest.raises(UsageError, match=r"'fixup' starts weights at zero, and 'weight_norm' divides by their size"):
        resolve(run_config({"model": {"name": "resnet8", "norm": "weight_norm + fixup"}, "data.name": "mnist_5k"}))
