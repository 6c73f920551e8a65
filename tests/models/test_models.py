"""Models: their layers as plain data agree with what is built, and every weight is drawn by its name."""

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from normbench.errors import UsageError
from normbench.models import Layer, build_model, macs, register_model
from normbench.models.dropout import Rows, SeededDropout
from normbench.norms import facts
from normbench.seeds import generator
from normbench.spec import RunConfig, resolve, run_config
from normbench.spec.counts import layers as layers_of
from normbench.spec.registry import MODELS, NORMS
from normbench.spec.schema import ModelConfig
from normbench.train.initialisation import initialise
from tests.norms.cases import host

SMALL: dict[str, Any] = {"name": "cnn", "channels": [4, 6], "hidden": [12]}
NORM_OPTIONS: dict[str, dict[str, Any]] = {"group": {"groups": 2}, "evonorm_s0": {"groups": 2}, "ghost": {"size": 4}}

ANYWHERE = [norm for norm in NORMS if host(norm) is None]  # those without norm need branches: test_branches


def whole(**changes: Any) -> RunConfig:
    """A resolved run with this model; keywords are keys of `model`."""
    return resolve(run_config({"model": {**SMALL, **changes}, "data": {"name": "mnist_5k", "batch_size": 64}}))


def resolved(**changes: Any) -> ModelConfig:
    return whole(**changes).model


def layers(config: ModelConfig) -> list[Layer] | None:
    return layers_of(RunConfig(model=config))


def named(name: str, **changes: Any) -> ModelConfig:
    """Another model than SMALL."""
    return resolve(run_config({"model": {"name": name, **changes}, "data.name": "mnist_5k"})).model


def shapes(model: nn.Module) -> list[tuple[nn.Module, tuple[int, ...], tuple[int, ...]]]:
    """Every convolution and linear layer with the shapes that it meets in a forward pass of four images."""
    seen: list[tuple[nn.Module, tuple[int, ...], tuple[int, ...]]] = []

    def hook(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        def full(x: Tensor) -> tuple[int, ...]:
            tokens_last = x.dim() == 3  # linear layers take (N, L, C)
            return (*(x.shape[:0:-1] if tokens_last else x.shape[1:]), 1, 1)[:3]

        seen.append((module, full(inputs[0]), full(output)))

    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(hook)
    assert model(torch.randn(4, 1, 28, 28)).shape == (4, 10)
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
    found = facts(config.norm, config.norm_options)
    of_norms = sum(found.parameters(layer.site.channels) for layer in walk if layer.site)
    assert sum(layer.parameters for layer in walk) + of_norms == sum(p.numel() for p in model.parameters())
    counted = sum(math.prod(outputs) * module.weight[0].numel() for module, _, outputs in seen)
    assert macs(walk) - sum(layer.product_macs for layer in walk) == counted
    for layer, (_, _, outputs) in zip(walk, seen, strict=True):
        if layer.site:
            assert (layer.site.channels, layer.site.positions) == (outputs[0], outputs[1] * outputs[2])


@pytest.mark.parametrize(
    ("name", "parameters"), [("digit_cnn", 421_642), ("digit_cnn_bn", 421_738), ("strided_cnn", 61_962)]
)
def test_parameter_counts_of_the_digit_networks(name: str, parameters: int) -> None:
    config = named(name)
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
            options = {"kernel_size": kernel_size, "padding": padding, "stride": stride, "pool": pool}
            with pytest.raises(UsageError, match="makes a map of"):
                build_model(ModelConfig("cnn", options={"channels": [4, 6], "hidden": [12], **options}))
            continue
        agrees_with_what_is_built(config)


@pytest.mark.parametrize("norm", ANYWHERE)
@pytest.mark.parametrize("bias", ["auto", "always", "never", "nowhere"])
def test_linear_layers_as_data_are_the_built_ones(norm: str, bias: str) -> None:
    options = NORM_OPTIONS.get(norm, {})
    for position, linear, logits, hidden in itertools.product(
        ("before", "after"), (False, True), (False, True), ([], [12], [12, 8])
    ):
        for name, extra in (("cnn", {"channels": [4, 6]}), ("mlp", {})):
            keys = {"norm_position": position, "norm_linear": linear, "norm_logits": logits, "hidden": hidden}
            if norm in ("instance", "batch_instance", "filter_response") and (logits or (linear and hidden)):
                continue  # one value a statistic
            agrees_with_what_is_built(named(name, norm=norm, norm_options=options, bias=bias, **keys, **extra))


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
        config = resolved(norm="batch", bias=bias)
        model = initialise(lambda config=config: build_model(config), 3).double()
        outputs.append(model(torch.randn(8, 1, 28, 28, generator=generator(0, "x"), dtype=torch.float64)))
    torch.testing.assert_close(*outputs, rtol=1e-8, atol=1e-8)


def test_order_of_norm_activation_and_pool() -> None:
    def kinds(**changes: Any) -> list[str]:
        block = next(iter(build_model(resolved(norm="batch", channels=[4], **changes)).children()))
        return [type(part).__name__ for part in block.children()]

    assert kinds() == ["Conv2d", "BatchNorm", "ReLU", "MaxPool2d"]
    assert kinds(norm_position="after", activation="gelu", pool="average") == [
        "Conv2d",
        "GELU",
        "BatchNorm",
        "AvgPool2d",
    ]
    assert kinds(pool="none", activation="silu") == ["Conv2d", "BatchNorm", "SiLU"]


def test_presets_are_models_with_other_defaults() -> None:
    def told(config: ModelConfig) -> tuple[Any, ...]:
        return (config.norm, *(config.options[name] for name in ("dropout", "channels", "hidden")))

    assert told(named("digit_cnn")) == ("none", 0.0, [32, 64], [128])
    assert told(named("digit_cnn_bn")) == ("batch", 0.5, [32, 64], [128])
    assert named("digit_cnn_bn", norm="group", dropout=0.1).options["dropout"] == 0.1
    assert named("mlp").options["norm_linear"] is True


@pytest.mark.parametrize("name", list(MODELS))
def test_resolving_twice_changes_nothing(name: str) -> None:
    once = named(name)
    assert named(name, norm=once.norm, norm_options=once.norm_options, **once.options) == once
    agrees_with_what_is_built(once)


def test_the_norm_options_are_resolved_to_all_of_them() -> None:
    assert resolved(norm="batch").norm_options == {"eps": 1e-5, "momentum": 0.1}
    assert resolved(norm="group", channels=[8, 8], norm_options={"groups": 2}).norm_options == {
        "groups": 2,
        "eps": 1e-5,
    }


def test_no_bias_anywhere_whatever_the_norm() -> None:
    for norm in ("none", "batch", "layer"):
        built = build_model(resolved(norm=norm, bias="nowhere"))
        assert not [name for name, _ in built.named_parameters() if name.endswith("bias") and "norm" not in name]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "digit_cmn"}, r"unknown model 'digit_cmn': did you mean 'digit_cnn'\? known: .*cnn.*digit_cnn.*mlp"),
        ({"norm": "bacth"}, r"unknown norm 'bacth': did you mean 'batch'\?"),
        ({"norm": "group"}, r"4 channels .*: 8 does not divide 4: choose one of 1, 2, 4"),
        (
            {"norm": "batch", "norm_options": {"ep": 1}},
            r"norm_options\.ep: 'batch' has no such option; unknown option 'ep': did you mean 'eps'\?",
        ),
        (
            {"norm": "batch", "norm_options": {"virtual_devices": 2}},
            r"norm_options\.virtual_devices: 'batch' has no such option",
        ),
        ({"name": "mlp"}, r"model\.channels: 'mlp' has no such option; .*hidden"),
        ({"kernel_size": 9, "padding": "valid", "channels": [2, 2, 2]}, r"makes a map of .*: use fewer blocks"),
        ({"channels": [2] * 6}, r"makes a map of 0x0 from 1x1"),
        ({"norm": "instance", "norm_linear": True}, r"norm 'instance' has one value .*norm_linear=false"),
        ({"norm": "instance", "channels": [2] * 5}, r"the pool of block\.4 makes a map of 0x0 from 1x1"),
        (
            {"norm": "instance", "channels": [2] * 5, "pool": "none", "stride": 2},
            r"block\.4: norm 'instance' has one val",
        ),
        ({"norm": "group", "norm_options": {"groups": 2}, "norm_logits": True, "hidden": [8]}, None),
    ],
)
def test_what_cannot_be_built_is_named(changes: dict[str, Any], said: str | None) -> None:
    if said is None:
        agrees_with_what_is_built(resolved(**changes))
        return
    with pytest.raises(UsageError, match=said):
        resolved(**changes)


def test_a_model_of_a_users_own() -> None:
    @register_model("a_users_model")
    def a_users_model(config: ModelConfig, image: tuple[int, int, int], classes: int, width: int = 3) -> nn.Module:
        assert config.options == {"width": width}
        return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(image), width), nn.Linear(width, classes))

    try:
        config = named("a_users_model")
        assert config.options == {"width": 3}
        assert layers(config) is None
        assert build_model(config)(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
        assert build_model(ModelConfig("a_users_model"), (3, 8, 8), 4)(torch.zeros(2, 3, 8, 8)).shape == (2, 4)
        with pytest.raises(UsageError, match="'a_users_model' has no such option"):
            named("a_users_model", channels=[1])
        with pytest.raises(UsageError, match=r"model 'cnn' is registered already by cnn\.py"):
            register_model("cnn")(a_users_model)
    finally:
        MODELS.remove("a_users_model")


def test_an_option_may_not_be_called_like_a_key_of_every_model() -> None:
    def clashing(image: Any, classes: int, init: str = "x") -> nn.Module:
        return nn.Identity()

    with pytest.raises(UsageError, match="an option cannot be called init: that is a key of every model"):
        register_model("clashing")(clashing)
    assert "clashing" not in MODELS


# Initial weights: each is drawn from (seed, parameter name) and depends on nothing else.


def weights(seed: int = 0, **changes: Any) -> dict[str, Tensor]:
    config = resolved(**changes)
    model = initialise(lambda: build_model(config), seed)
    found = {}
    for key, p in model.named_parameters():
        if "norm" not in key and ".parametrizations." not in key:
            found[key] = p.detach()
    for name, module in model.named_modules():
        if is_parametrized(module, "weight"):  # the drawn weight; of weight norm's two parts, what they make
            parts = module.parametrizations.weight
            found[f"{name}.weight"] = (parts.original if hasattr(parts, "original") else module.weight).detach()
    return found


@pytest.mark.parametrize("norm", [name for name in ANYWHERE if name != "none"])
@pytest.mark.parametrize("bias", ["auto", "always", "never"])
def test_all_norms_start_from_the_same_weights(norm: str, bias: str) -> None:
    plain, normed = weights(norm="none"), weights(norm=norm, norm_options=NORM_OPTIONS.get(norm, {}), bias=bias)
    shared = plain.keys() & normed.keys()
    assert {key for key in plain if key.endswith("weight")} <= shared
    for key in shared:
        torch.testing.assert_close(plain[key], normed[key], rtol=2e-7 * (norm == "weight_norm"), atol=0, msg=key)


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
    config = named("mlp", hidden=[20, 20, 20])
    model = initialise(lambda: build_model(config), 0)
    a, b = (model.get_parameter(f"hidden{i}.linear.weight") for i in (1, 2))
    assert not torch.equal(a, b)


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
