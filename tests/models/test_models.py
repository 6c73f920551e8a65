"""Models: their layers as plain data agree with what is built, and every weight is drawn by its name."""

import itertools
import math
from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from normbench.errors import UsageError
from normbench.models import MODELS, build_model, cost, layers, register_model, resolve_model
from normbench.models.dropout import Rows, SeededDropout
from normbench.seeds import generator, init_weights
from normbench.spec.schema import ModelConfig

SMALL: dict[str, Any] = {"name": "cnn", "channels": [4, 6], "hidden": [12]}


def resolved(**changes: Any) -> ModelConfig:
    return resolve_model(ModelConfig(**{**SMALL, **changes}))


def shapes(model: nn.Module) -> list[tuple[nn.Module, tuple[int, ...], tuple[int, ...]]]:
    """Every convolution and linear layer with the shapes that it meets in a forward pass of two images."""
    seen: list[tuple[nn.Module, tuple[int, ...], tuple[int, ...]]] = []

    def hook(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        def full(x: Tensor) -> tuple[int, ...]:
            return (*x.shape[1:], 1, 1)[:3]

        seen.append((module, full(inputs[0]), full(output)))

    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(hook)
    assert model(torch.randn(2, 1, 28, 28)).shape == (2, 10)
    return seen


def agrees_with_what_is_built(config: ModelConfig) -> None:
    """The plain layers against the built modules: shapes, biases, parameters, multiply-adds."""
    walk = layers(config)
    assert walk is not None
    assert config.norm is not None
    model = build_model(config)
    seen = shapes(model)
    assert [(layer.inputs, layer.outputs, layer.bias) for layer in walk] == [
        (inputs, outputs, module.bias is not None) for module, inputs, outputs in seen
    ]
    assert sum(layer.parameters(config.norm) for layer in walk) == sum(p.numel() for p in model.parameters())
    macs = sum(math.prod(outputs) * module.weight[0].numel() for module, _, outputs in seen)
    assert cost(walk) == macs


@pytest.mark.parametrize(("name", "parameters"), [("digit_cnn", 421_642), ("digit_cnn_bn", 421_738)])
def test_parameter_counts_of_the_digit_networks(name: str, parameters: int) -> None:
    config = resolve_model(ModelConfig(name=name))
    assert sum(p.numel() for p in build_model(config).parameters()) == parameters
    agrees_with_what_is_built(config)


@pytest.mark.parametrize("padding", ["same", "valid", 0, 1, 2])
@pytest.mark.parametrize("kernel_size", [1, 2, 3, 4, 5])
def test_convolutions_as_data_are_the_built_ones(kernel_size: int, padding: str | int) -> None:
    for stride, pool in itertools.product((1, 2, 3), ("max", "average", "none")):
        try:
            config = resolved(kernel_size=kernel_size, padding=padding, stride=stride, pool=pool)
        except UsageError as error:
            assert "makes a map of" in str(error)  # noqa: PT017  (some cells of this grid run out of pixels)
            with pytest.raises(UsageError):
                build_model(ModelConfig(**SMALL, kernel_size=kernel_size, padding=padding, stride=stride, pool=pool))
            continue
        agrees_with_what_is_built(config)


@pytest.mark.parametrize("norm", ["none", "batch", "layer", "group"])
@pytest.mark.parametrize("bias", ["auto", "always", "never"])
def test_linear_layers_as_data_are_the_built_ones(norm: str, bias: str) -> None:
    options = {"groups": 2} if norm == "group" else {}
    for position, linear, logits, hidden in itertools.product(
        ("before", "after"), (False, True), (False, True), ([], [12], [12, 8])
    ):
        for extra in ({}, {"name": "mlp", "channels": None}):
            agrees_with_what_is_built(
                resolved(
                    norm=norm,
                    norm_options=options,
                    bias=bias,
                    norm_position=position,
                    norm_linear=linear,
                    norm_logits=logits,
                    hidden=hidden,
                    **extra,
                )
            )


@pytest.mark.parametrize(
    ("norm", "options", "position", "bias"),
    [
        ("none", {}, "before", True),
        ("batch", {}, "before", False),
        ("batch", {}, "after", True),
        ("instance", {}, "before", False),
        ("layer", {}, "before", True),
        ("group", {"groups": 2}, "before", True),
        ("group", {"groups": 4}, "before", False),
    ],
)
def test_auto_drops_a_bias_only_where_the_norm_cancels_it(
    norm: str, options: dict[str, Any], position: str, bias: bool
) -> None:
    config = resolved(norm=norm, norm_options=options, norm_position=position, channels=[4])
    convolution = next(module for module in build_model(config).modules() if isinstance(module, nn.Conv2d))
    assert (convolution.bias is not None) == bias


def test_dropping_a_bias_that_is_cancelled_changes_no_output() -> None:
    outputs = []
    for bias in ("auto", "always"):
        model = build_model(resolved(norm="batch", bias=bias)).double()
        init_weights(model, 3)
        outputs.append(model(torch.randn(8, 1, 28, 28, generator=generator(0, "x"), dtype=torch.float64)))
    torch.testing.assert_close(*outputs, rtol=1e-8, atol=1e-8)


def test_order_of_norm_activation_and_pool() -> None:
    def kinds(**changes: Any) -> list[str]:
        block = next(iter(build_model(resolved(norm="batch", channels=[4], **changes)).children()))
        return [type(part).__name__ for part in block.children()]

    assert kinds() == ["Conv2d", "BatchNorm2d", "ReLU", "MaxPool2d"]
    assert kinds(norm_position="after", activation="gelu", pool="average") == [
        "Conv2d",
        "GELU",
        "BatchNorm2d",
        "AvgPool2d",
    ]
    assert kinds(pool="none", activation="silu") == ["Conv2d", "BatchNorm2d", "SiLU"]


def test_presets_are_models_with_other_defaults() -> None:
    plain, normed = (resolve_model(ModelConfig(name=name)) for name in ("digit_cnn", "digit_cnn_bn"))
    assert (plain.norm, plain.dropout, plain.channels, plain.hidden) == ("none", 0.0, [32, 64], [128])
    assert (normed.norm, normed.dropout, normed.channels, normed.hidden) == ("batch", 0.5, [32, 64], [128])
    assert resolve_model(ModelConfig(name="digit_cnn_bn", norm="group", dropout=0.1)).dropout == 0.1
    assert resolve_model(ModelConfig(name="mlp")).norm_linear is True


def test_resolving_twice_changes_nothing() -> None:
    for name in ("cnn", "mlp", "digit_cnn", "digit_cnn_bn"):
        once = resolve_model(ModelConfig(name=name))
        assert resolve_model(once) == once


def test_the_norm_options_are_resolved_to_all_of_them() -> None:
    assert resolved(norm="batch").norm_options == {"eps": 1e-5, "momentum": 0.1}
    assert resolved(norm="group", channels=[8, 8], norm_options={"groups": 2}).norm_options == {
        "groups": 2,
        "eps": 1e-5,
    }


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "digit_cmn"}, r"unknown model 'digit_cmn': did you mean 'digit_cnn'\? known: .*cnn.*digit_cnn.*mlp"),
        ({"norm": "bacth"}, r"unknown norm 'bacth': did you mean 'batch'\?"),
        ({"norm": "group"}, r"groups=8 does not divide 4 channels: choose one of 1, 2, 4"),
        ({"norm": "batch", "norm_options": {"ep": 1}}, r"unknown option of norm 'batch' 'ep': did you mean 'eps'\?"),
        (
            {"norm": "batch", "norm_options": {"virtual_devices": 2}},
            r"unknown option of norm 'batch' 'virtual_devices'",
        ),
        ({"name": "mlp"}, r"model\.channels: model 'mlp' has no channels; it takes .*hidden"),
        ({"kernel_size": 9, "padding": "valid", "channels": [2, 2, 2]}, r"makes a map of .*: use fewer blocks"),
        ({"channels": [2] * 6}, r"makes a map of 0x0 from 1x1"),
        ({"norm": "instance", "norm_linear": True}, r"norm 'instance' has nothing to average .*norm_linear=false"),
        ({"norm": "instance", "channels": [2] * 5}, r"nothing to average on the 1x1 map of block\.4"),
        ({"norm": "group", "norm_options": {"groups": 2}, "norm_logits": True, "hidden": [8]}, None),
    ],
)
def test_what_cannot_be_built_is_named(changes: dict[str, Any], said: str | None) -> None:
    if said is None:
        agrees_with_what_is_built(resolved(**changes))
        return
    with pytest.raises(UsageError, match=said):
        resolved(**changes)


def test_instance_norm_on_an_mlp_is_named() -> None:
    with pytest.raises(UsageError, match="norm 'instance' has nothing to average on the output of a linear layer"):
        resolve_model(ModelConfig(name="mlp", norm="instance"))


def test_a_model_of_a_users_own() -> None:
    @register_model("a_users_model", options={"width": 3})
    def a_users_model(config: ModelConfig, image: tuple[int, int, int], classes: int) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(image), config.options["width"]), nn.Linear(3, classes))

    try:
        config = resolve_model(ModelConfig(name="a_users_model", options={}))
        assert config.options == {"width": 3}
        assert layers(config) is None
        assert build_model(config)(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
        with pytest.raises(UsageError, match="has no channels"):
            resolve_model(ModelConfig(name="a_users_model", channels=[1]))
        with pytest.raises(UsageError, match=r"model 'cnn' is registered already by normbench\.models\.cnn"):
            register_model("cnn")(a_users_model)
    finally:
        del MODELS["a_users_model"]


# Initial weights: each is drawn from (seed, parameter name) and depends on nothing else.


def weights(seed: int = 0, **changes: Any) -> dict[str, Tensor]:
    model = build_model(resolved(**changes))
    init_weights(model, seed)
    return {key: p.detach() for key, p in model.named_parameters() if "norm" not in key}


@pytest.mark.parametrize("norm", ["batch", "layer", "instance", "group", "ghost", "sync_batch"])
@pytest.mark.parametrize("bias", ["auto", "always", "never"])
def test_all_norms_start_from_the_same_weights(norm: str, bias: str) -> None:
    options = {"groups": 2} if norm == "group" else {}
    plain, normed = weights(), weights(norm=norm, norm_options=options, bias=bias)
    shared = plain.keys() & normed.keys()
    assert {key for key in plain if key.endswith("weight")} <= shared
    for key in shared:
        assert torch.equal(plain[key], normed[key]), key


def test_a_layer_more_moves_no_other_layers_weights() -> None:
    short, deep = weights(hidden=[12], padding="same"), weights(hidden=[12, 12], dropout=0.5, norm_logits=True)
    for key in short.keys() - {"output.weight", "output.bias"}:
        assert torch.equal(short[key], deep[key]), key


def test_weights_differ_between_seeds_and_between_layers() -> None:
    torch.manual_seed(5)
    one, other = weights(seed=0), weights(seed=1)
    torch.manual_seed(6)
    again = weights(seed=0)
    for key in one:
        assert torch.equal(one[key], again[key])  # whatever torch's own generator is at
        assert not torch.equal(one[key], other[key])
    model = build_model(resolve_model(ModelConfig(name="mlp", hidden=[20, 20, 20])))
    init_weights(model, 0)
    a, b = (model.get_parameter(f"hidden{i}.linear.weight") for i in (1, 2))
    assert not torch.equal(a, b)


def test_weights_have_torchs_default_distribution() -> None:
    model = build_model(resolve_model(ModelConfig(name="digit_cnn")))
    init_weights(model, 0)
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            bound = module.weight[0].numel() ** -0.5
            flat = module.weight.detach().flatten()
            default = type(module).reset_parameters
            assert flat.abs().max() <= bound
            assert stats.kstest(flat[:20_000].numpy(), "uniform", (-bound, 2 * bound)).pvalue > 1e-3
            assert module.bias.abs().max() <= bound
            with torch.random.fork_rng():
                torch.manual_seed(0)
                default(module)
            assert module.weight.abs().max().item() == pytest.approx(bound, rel=0.05)


def test_other_layers_that_draw_do_so_by_their_name() -> None:
    def build(*before: nn.Module) -> nn.Module:
        model = nn.Sequential()
        for index, layer in enumerate(before):
            model.add_module(f"before{index}", layer)
        model.add_module("embed", nn.Embedding(4, 3))
        init_weights(model, 0)
        return model

    one, other = build(), build(nn.Linear(2, 2), nn.PReLU())
    assert torch.equal(one.get_parameter("embed.weight"), other.get_parameter("embed.weight"))


# Dropout: the mask depends on (seed, layer, step, row of the global batch).


def mask(start: int = 0, count: int = 12, total: int = 12, **changes: Any) -> Tensor:
    layer = SeededDropout(changes.pop("p", 0.5))
    layer.name = changes.pop("name", "hidden0.dropout")
    layer.rows = Rows(changes.pop("seed", 0), changes.pop("step", 0), start, total)
    result: Tensor = layer(torch.ones(count, 40))
    return result


@pytest.mark.parametrize("parts", [1, 2, 3, 4, 6, 12])
def test_dropout_masks_do_not_depend_on_how_a_batch_is_divided(parts: int) -> None:
    own = 12 // parts
    assert torch.equal(torch.cat([mask(part * own, own) for part in range(parts)]), mask())


def test_dropout_masks_depend_on_seed_name_and_step() -> None:
    torch.manual_seed(1)
    first = mask()
    torch.manual_seed(2)
    assert torch.equal(first, mask())
    for changes in ({"seed": 1}, {"step": 1}, {"name": "hidden1.dropout"}):
        assert not torch.equal(first, mask(**changes)), changes


def test_dropout_keeps_the_expectation_and_is_the_identity_in_evaluation() -> None:
    x = mask(count=4000, total=4000, p=0.3)
    assert x.unique().tolist() == pytest.approx([0, 1 / 0.7])
    assert x.mean().item() == pytest.approx(1, abs=0.01)
    assert (x == 0).float().mean().item() == pytest.approx(0.3, abs=0.01)
    layer = SeededDropout(0.3).eval()
    assert torch.equal(layer(torch.ones(3, 4)), torch.ones(3, 4))
    assert torch.equal(SeededDropout(0.0)(torch.ones(3, 4)), torch.ones(3, 4))
    layer.train()
    assert layer(torch.ones(1000)).mean().item() == pytest.approx(1, abs=0.1)  # without a NormClassifier: torch's own
