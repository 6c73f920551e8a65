"""Every initial value is claimed by one rule, and depends on (seed, name) alone."""

import os
import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from normbench.errors import UsageError
from normbench.seeds import generator
from normbench.train.initialisation import Rule, claims, initialise


def values(build: Callable[[], nn.Module], seed: int = 0, **rule: object) -> dict[str, Tensor]:
    return dict(initialise(build, seed, Rule(**rule)).state_dict())  # type: ignore[arg-type]


def same(one: dict[str, Tensor], two: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[name], two[name]) for name in one)


def small() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 3))


def test_layers_are_drawn_by_seed_and_name_as_torch_would() -> None:
    found = values(small, 3)
    for name, bound in (("0.weight", 9**-0.5), ("0.bias", 9**-0.5), ("3.weight", 0.5), ("3.bias", 0.5)):
        expected = torch.empty_like(found[name]).uniform_(-bound, bound, generator=generator(3, "init", name))
        assert torch.equal(found[name], expected)
    assert found["1.weight"].eq(1).all()
    words = claims(initialise(small, 3))
    assert {name for name, word in words.items() if word == "init"} == {"0.weight", "0.bias", "3.weight", "3.bias"}
    assert words["1.weight"] == words["1.running_var"] == "fixed"


@pytest.mark.parametrize(
    ("rule", "std", "limit"),
    [
        ("xavier_uniform", (2 / (512 + 1024)) ** 0.5, (6 / (512 + 1024)) ** 0.5),
        ("xavier_normal", (2 / (512 + 1024)) ** 0.5, None),
        ("he_uniform", (2 / 512) ** 0.5, (6 / 512) ** 0.5),
        ("he_normal", (2 / 512) ** 0.5, None),
        ("lecun_uniform", (1 / 512) ** 0.5, (3 / 512) ** 0.5),
        ("lecun_normal", (1 / 512) ** 0.5, None),
        ("normal", 0.01, None),
        # Of a normal cut at two standard deviations: sqrt(1 - 4 phi(2) / (2 Phi(2) - 1)) = 0.8796 of them are left.
        ("truncated_normal", 0.0087963, 0.02),
    ],
)
def test_rules_have_their_variance(rule: str, std: float, limit: float | None) -> None:
    weight = values(lambda: nn.Linear(512, 1024), weight=rule, std=0.01)["weight"]
    assert weight.std().item() == pytest.approx(std, rel=5e-3)
    assert weight.mean().item() == pytest.approx(0, abs=0.005 * std)
    if limit is not None:
        assert limit * 0.999 < weight.abs().max().item() <= limit
    else:
        assert weight.abs().max().item() > 4 * std
        inside = (weight.abs() < std).double().mean().item()
        assert inside == pytest.approx(0.6827, abs=2e-3), "normal"


def test_a_kernel_counts_in_both_fans() -> None:
    weight = values(lambda: nn.Conv2d(32, 64, 3), weight="xavier_normal")["weight"]
    assert weight.std().item() == pytest.approx((2 / (9 * 32 + 9 * 64)) ** 0.5, rel=0.03)


def test_biases_can_be_a_number_and_reach_random_ones_alone() -> None:
    def build() -> nn.Module:
        net = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
        nn.init.constant_(net[1].bias, 7.0)
        return net

    found = values(build, bias=0.5)
    assert found["0.bias"].tolist() == [0.5, 0.5]
    assert found["1.bias"].tolist() == [7.0, 7.0]
    assert torch.equal(found["0.weight"], values(build)["0.weight"])


@pytest.mark.parametrize("rule", ["normal", "truncated_normal"])
def test_normal_needs_its_std(rule: str) -> None:
    with pytest.raises(UsageError, match=rf"model\.init={rule} needs model\.init_std"):
        values(small, weight=rule)


class ZeroGamma(nn.Module):
    """A norm without reset_parameters whose gamma starts at zero, and a zero-initialised convolution before it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 1)
        nn.init.zeros_(self.conv.weight)
        self.norm = nn.GroupNorm(1, 2)
        nn.init.zeros_(self.norm.weight)
        self.gamma = nn.Parameter(torch.zeros(2))


@pytest.mark.parametrize("rule", ["torch", "he_normal"])
def test_what_a_builder_sets_stays(rule: str) -> None:
    net = initialise(ZeroGamma, 0, Rule(rule))
    for name in ("conv.weight", "norm.weight", "gamma"):
        assert net.get_parameter(name).eq(0).all()
        assert claims(net)[name] == "fixed"
    assert claims(net)["conv.bias"] == "init"


class Attention(nn.Module):
    """What version 0.1 left unseeded: attention, an embedding, a raw position embedding, a random buffer."""

    def __init__(self, norm: nn.Module | None = None, bias: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, bias=bias)
        self.norm = norm
        self.attention = nn.MultiheadAttention(8, 2)
        self.embedding = nn.Embedding(5, 8)
        self.lstm = nn.LSTM(8, 4)
        self.position = nn.Parameter(torch.randn(3, 8) * 0.02)
        self.other = nn.Parameter(torch.empty(3, 8))
        nn.init.trunc_normal_(self.other, std=0.5)
        self.register_buffer("mask", torch.rand(4))


class DrawnNorm(nn.Module):
    """A norm that draws, too: its draws have the shapes of the model's own."""

    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.randn(3, 8))


def test_everything_that_torch_draws_follows_seed_and_name() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    net = initialise(Attention, 1)
    assert torch.equal(torch.get_rng_state(), before), "the global generator is left as it was"
    torch.manual_seed(6)
    assert same(values(Attention, 1), dict(net.state_dict()))
    other = values(Attention, 2)
    words = claims(net)
    for name in net.state_dict():
        assert torch.equal(other[name], net.state_dict()[name]) == (words[name] == "fixed"), name
    assert {name: words[name] for name in ("attention.in_proj_weight", "embedding.weight", "lstm.weight_hh_l0")} == {
        "attention.in_proj_weight": "reset",
        "embedding.weight": "reset",
        "lstm.weight_hh_l0": "reset",
    }
    assert words["attention.out_proj.weight"] == "init"
    assert words["attention.in_proj_bias"] == "fixed"
    assert words["position"] == words["other"] == words["mask"] == "drawn"


def test_another_norm_moves_nothing_else() -> None:
    plain = values(Attention)
    others = (lambda: Attention(nn.BatchNorm2d(8), bias=False), lambda: Attention(DrawnNorm()))
    for found in map(values, others):
        for name, value in plain.items():
            if name in found:
                assert torch.equal(found[name], value), name


def test_a_raw_parameter_keeps_its_distribution() -> None:
    class Raw(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.normal = nn.Parameter(3 + 2 * torch.randn(20_000))
            self.sum = nn.Parameter(torch.rand(20_000) + torch.rand(20_000))

    found = values(Raw)
    assert found["normal"].mean().item() == pytest.approx(3, abs=0.05)
    assert found["normal"].std().item() == pytest.approx(2, abs=0.05)
    assert found["sum"].var().item() == pytest.approx(2 / 12, abs=0.01), "two draws, not one twice"


def test_a_builders_own_draw_of_a_layer_stays_under_torch_and_gives_way_to_a_rule() -> None:
    def build() -> nn.Module:
        net = nn.Sequential(nn.Linear(100, 100), nn.Embedding(100, 100))
        nn.init.normal_(net[0].weight, std=7.0)
        nn.init.normal_(net[1].weight, std=0.02)
        return net

    found = values(build)
    assert found["0.weight"].std().item() == pytest.approx(7, rel=0.05)
    assert found["1.weight"].std().item() == pytest.approx(0.02, rel=0.05)
    assert values(build, weight="lecun_normal")["0.weight"].std().item() == pytest.approx(0.1, rel=0.05)
    assert not same(found, values(build, 1))


@pytest.mark.parametrize("wrap", [parametrizations.weight_norm, parametrizations.spectral_norm])
def test_a_parametrised_weight_is_drawn_as_the_weight_it_stands_for(wrap: Callable[[nn.Module], nn.Module]) -> None:
    plain = initialise(lambda: nn.Sequential(nn.Linear(6, 4)), 0)[0]  # type: ignore[index]
    net = initialise(lambda: nn.Sequential(wrap(nn.Linear(6, 4))), 0)
    again = initialise(lambda: nn.Sequential(wrap(nn.Linear(6, 4))), 0)
    assert same(dict(net.state_dict()), dict(again.state_dict()))
    expected = plain.weight
    if wrap is parametrizations.spectral_norm:
        expected = expected / torch.linalg.matrix_norm(expected, 2)
        tolerance = 1e-2  # its power iteration approximates the largest singular value
    else:
        tolerance = 1e-6
    torch.testing.assert_close(net.eval()[0].weight, expected, rtol=tolerance, atol=tolerance)  # type: ignore[index]
    assert torch.equal(net[0].bias, plain.bias)  # type: ignore[index]


def test_a_shared_parameter_is_claimed_once() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Linear(4, 4)
            self.two = nn.Linear(4, 4)
            self.two.weight = self.one.weight

    net = initialise(Tied, 0)
    assert net.one.weight is net.two.weight
    assert torch.equal(net.one.weight, values(lambda: nn.ModuleDict({"one": nn.Linear(4, 4)}))["one.weight"])
    assert "two.weight" not in claims(net)


OWN = torch.Generator()


@pytest.mark.parametrize(
    "draw",
    [
        lambda: torch.from_numpy(np.random.randn(8)),
        lambda: torch.tensor([random.random() for _ in range(8)]),
        lambda: torch.tensor(list(os.urandom(8))).float(),
        lambda: torch.randn(8, generator=OWN),
    ],
    ids=["numpy", "python", "urandom", "generator"],
)
def test_a_draw_that_cannot_be_repeated_is_named(draw: Callable[[], Tensor]) -> None:
    class Strange(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(8, 8)
            self.inner.register_parameter("strange", nn.Parameter(draw()))

    with pytest.raises(UsageError, match=r"'inner\.strange' of the model is random.*draw it with torch"):
        initialise(Strange, 0)


def test_a_builder_that_makes_another_network_each_time_is_refused() -> None:
    sizes = iter(range(2, 100))
    with pytest.raises(UsageError, match="another shape"):
        initialise(lambda: nn.Linear(next(sizes), 2), 0)


def test_a_parameter_without_a_shape_is_refused() -> None:
    with pytest.raises(UsageError, match="no shape before the first batch"):
        initialise(lambda: nn.LazyLinear(3), 0)


@pytest.mark.parametrize(
    "make",
    [torch.Generator, np.random.default_rng, np.random.RandomState, np.random.PCG64, random.Random],
)
def test_a_generator_of_its_own_is_refused(make: Callable[[], object]) -> None:
    """What it draws while the network trains would differ under one id, or be the same for all seeds."""

    def build() -> nn.Module:
        net = small()
        net[0].noise = make()
        return net

    with pytest.raises(UsageError, match=r"'0\.noise' of the model is a random generator of its own"):
        initialise(build, 0)
