"""Norms of weights: values and gradients against their formulas, alone and joined to others."""

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from normbench.errors import UsageError
from normbench.norms import NORMS, Norms, build_norm, facts

LAYERS: dict[str, Any] = {
    "conv": lambda: nn.Conv2d(3, 8, 3).double(),
    "linear": lambda: nn.Linear(5, 8).double(),
}


def inputs(kind: str) -> Tensor:
    shape = (6, 3, 5, 5) if kind == "conv" else (6, 5)
    return torch.randn(shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def flat(v: Tensor) -> Tensor:
    return v.reshape(len(v), -1)


def across(g: Tensor, v: Tensor) -> Tensor:
    """A number for each filter, (C), so that it spreads over the filters."""
    return g.reshape(-1, *[1] * (v.dim() - 1))


# The weight that a layer is used with, from the drawn one, v, and a trained number for each filter, g, where there is
# one; and g's first values.


def weight_std(v: Tensor, g: Tensor, o: dict[str, Any]) -> Tensor:
    rows = flat(v)
    mean = rows.sum(1, keepdim=True) / rows.shape[1]
    var = (rows**2).sum(1, keepdim=True) / rows.shape[1] - mean**2
    return ((rows - mean) / (var + o["eps"]) ** 0.5).reshape(v.shape)


def scaled(v: Tensor, g: Tensor, o: dict[str, Any]) -> Tensor:
    rows = flat(v)
    centred = rows - rows.mean(1, keepdim=True)
    return across(g, v) * (o["gain"] * centred / (centred**2).sum(1, keepdim=True) ** 0.5).reshape(v.shape)


def spectral(v: Tensor, g: Tensor, o: dict[str, Any]) -> Tensor:
    return v / torch.linalg.svdvals(flat(v))[0]


def length(v: Tensor, g: Tensor, o: dict[str, Any]) -> Tensor:
    return across(g, v) * v / across((flat(v) ** 2).sum(1) ** 0.5, v)


FORMULAS: dict[str, tuple[Any, dict[str, Any]]] = {
    "weight_norm": (length, {"data_init": False}),
    "weight_std": (weight_std, {}),
    "scaled_weight_std": (scaled, {"eps": 1e-12}),
    "spectral": (spectral, {"iterations": 200}),
}
# Where g stands among a layer's parameters, and what it is at first.
TRAINED: dict[str, tuple[str, Any]] = {
    "weight_norm": ("parametrizations.weight.original0", lambda v: flat(v).norm(dim=1)),
    "scaled_weight_std": ("parametrizations.weight.0.gain", lambda v: torch.ones(len(v)).double()),
}


def test_every_norm_of_weights_has_a_formula() -> None:
    assert {name for name in NORMS if NORMS.get(name).facts.get("weights")} == set(FORMULAS)


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("kind", list(LAYERS))
@pytest.mark.parametrize("name", list(FORMULAS))
def test_values_and_gradients_are_those_of_the_formula(name: str, kind: str, training: bool) -> None:
    """Gradients of the input and of every parameter of the layer, with a g that is not where it starts."""
    formula, options = FORMULAS[name]
    torch.manual_seed(0)
    layer, x = LAYERS[kind](), inputs(kind).requires_grad_()
    v, bias = (part.detach().clone().requires_grad_() for part in (layer.weight, layer.bias))
    norm = Norms(name, options).after(layer, None, 8)[0][1].double().train(training)
    layer.train(training)

    trained, first = TRAINED.get(name, ("", lambda v: torch.ones(len(v)).double()))
    factor = torch.linspace(0.5, 2, 8).double()
    g = first(v.detach())
    if trained:
        own = layer.get_parameter(trained)
        torch.testing.assert_close(own.detach().flatten(), g)
        own.data *= across(factor, own)
        g = g * factor
    g.requires_grad_()

    right = (F.conv2d if kind == "conv" else F.linear)(x, formula(v, g, NORMS.get(name).chosen(options, "")), bias)
    y = norm(layer(x))
    torch.testing.assert_close(y, right, rtol=1e-6, atol=1e-6)
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    drawn = "parametrizations.weight.original1" if name == "weight_norm" else "parametrizations.weight.original"
    wanted = {drawn: v, "bias": bias, **({trained: g} if trained else {})}
    assert wanted.keys() == dict(layer.named_parameters()).keys()
    assert not list(norm.parameters())
    given = torch.autograd.grad((y * weights).sum(), [x, *(layer.get_parameter(key) for key in wanted)])
    for one, other in zip(given, torch.autograd.grad((right * weights).sum(), [x, *wanted.values()]), strict=True):
        torch.testing.assert_close(one, other.view_as(one), rtol=1e-5, atol=1e-5)


def test_torchs_own_parametrisations_give_the_same() -> None:
    for name, twin in (("weight_norm", parametrizations.weight_norm), ("spectral", parametrizations.spectral_norm)):
        one, other = nn.Linear(5, 8), nn.Linear(5, 8)
        other.load_state_dict(one.state_dict())
        torch.manual_seed(1)
        build_norm(name, 8).reparametrize(one.eval())
        torch.manual_seed(1)
        twin(other.eval())
        x = torch.randn(4, 5)
        assert torch.equal(one(x), other(x))


@pytest.mark.parametrize("kind", list(LAYERS))
@pytest.mark.parametrize("bias", [True, False])
def test_the_first_batch_of_training_sets_length_and_bias(kind: str, bias: bool) -> None:
    layer = LAYERS[kind]()
    if not bias:
        layer.bias = None
    norm = Norms("weight_norm").after(layer, None, 8)[0][1]
    net, x = nn.Sequential(layer, norm), inputs(kind)
    before = net.eval()(x)
    net.train()
    copied = copy.deepcopy(net)
    y = net(x).transpose(0, 1).flatten(1)
    torch.testing.assert_close(y.std(1, correction=0), torch.ones(8).double())
    if bias:
        torch.testing.assert_close(y.mean(1), torch.zeros(8).double(), rtol=0, atol=1e-10)
    assert torch.equal(net(2 * x), net.eval()(2 * x)), "only the first batch"
    assert torch.equal(copied.eval()(x), before), "a copy is a net of its own"
    copied.load_state_dict(net.state_dict())
    assert torch.equal(copied.train()(3 * x), net(3 * x)), "what was set is part of the state"


def test_the_first_variance_survives_a_large_mean() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(3, 8)
    norm = Norms("weight_norm").after(layer, None, 8)[0][1]
    y = norm(layer(1e4 + torch.randn(256, 3)))
    torch.testing.assert_close(y.std(0, correction=0), torch.ones(8), rtol=0.01, atol=0)


def test_a_compound_is_both() -> None:
    torch.manual_seed(0)
    layer, x = nn.Conv2d(3, 8, 3), torch.randn(4, 3, 6, 6)
    plain, v = copy.deepcopy(layer), layer.weight.detach().clone()
    norms = Norms("group + weight_std", {"groups": 4, "weight_std_eps": 0.1})
    parts = norms.after(layer, nn.ReLU(), 8)
    plain.weight.data = weight_std(v, torch.ones(8), {"eps": 0.1})
    torch.testing.assert_close(parts[0][1](layer(x)), build_norm("group", 8, groups=4)(plain(x)))
    found, alone = facts("group + scaled_weight_std"), facts("group")
    assert (found.channels, found.bias, found.same_in_eval) == (alone.channels, alone.bias, alone.same_in_eval)
    assert found.parameters(8) == 8 + alone.parameters(8)
    assert NORMS.get("weight_std+group").name == "group + weight_std"
    assert math.isclose(
        NORMS.get("batch + scaled_weight_std").options["scaled_weight_std_gain"].default,
        math.sqrt(2 / (1 - 1 / math.pi)),
    )
    assert [name for name, _ in Norms("evonorm_s0 + weight_std", {"groups": 4}).after(layer, nn.ReLU(), 8)] == ["norm"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("group + batch", "'group' and 'batch' both act on activations"),
        ("group + wieght_std", "unknown norm 'wieght_std': did you mean 'weight_std'"),
        ("weight_std + weight_std", "a norm is given twice"),
        ("group +", "unknown norm ''"),
    ],
)
def test_what_cannot_be_joined_is_named(name: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        NORMS.get(name)
