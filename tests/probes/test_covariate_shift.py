"""The probe `covariate_shift` against definition 2.1 by hand, on real digits."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from normbench.probes import Moment
from normbench.probes.covariate_shift import CovariateShift, called

from .digits import moment, network, perceptron, state, unchanged


def stepped(net: nn.Module, lr: float = 0.5) -> Moment:
    """A moment after a step of gradient descent."""
    at = moment(copy.deepcopy(net), before=net, lr=lr)
    F.cross_entropy(at.net(at.images), at.labels).backward()
    torch.optim.SGD(at.net.parameters(), lr).step()
    at.net.zero_grad(set_to_none=True)
    return at


def slope(net: nn.Module, at: Moment, layer: int) -> torch.Tensor:
    own = copy.deepcopy(net)
    F.cross_entropy(own(at.images), at.labels).backward()
    return torch.cat([one.grad.flatten() for one in own[layer].parameters()]).double()  # type: ignore[index]


@pytest.mark.parametrize("norm", [nn.Identity, nn.BatchNorm1d])
def test_numbers_are_those_of_the_definition(norm: type[nn.Module]) -> None:
    net = perceptron(norm)
    at = stepped(net)
    kept, after = state(net), state(at.net)
    found = CovariateShift().measure(at).scalars
    assert unchanged(net, kept)
    assert unchanged(at.net, after)
    assert set(found) == {"4/change", "4/relative", "4/cosine"}, "none stands before the first layer"
    mixed = copy.deepcopy(net)
    for place in (1, 2):
        mixed[place].load_state_dict(at.net[place].state_dict())  # type: ignore[index]
    old, new = slope(net, at, 4), slope(mixed, at, 4)
    change = float((new - old).norm())
    assert change > 0.01, "there is something to find"
    assert found["4/change"] == pytest.approx(change, rel=1e-4)
    assert found["4/relative"] == pytest.approx(change / float(old.norm()), rel=1e-4)
    assert found["4/cosine"] == pytest.approx(float(old @ new / old.norm() / new.norm()), rel=1e-5)


def test_only_layers_before_are_updated() -> None:
    net = perceptron()
    at = stepped(net)
    with torch.no_grad():  # a layer's own step, and that of those behind it, count for nothing
        for place in (1, 4):
            at.net[place].load_state_dict(net[place].state_dict())  # type: ignore[index]
        at.net[4].weight += 1  # type: ignore[index]
    found = CovariateShift().measure(at).scalars
    assert found["4/change"] == 0
    assert found["4/cosine"] == pytest.approx(1)


def test_dropout_is_the_same_for_both_and_random_numbers_are_as_before() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 8), nn.Dropout(0.5), nn.Linear(8, 10))
    at = moment(copy.deepcopy(net), before=net, lr=0.5)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    assert CovariateShift().measure(at).scalars["3/change"] == 0
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("norm", ["weight_norm", "scaled_weight_std", "spectral", "batch_renorm", "layer + weight_std"])
def test_a_layer_that_computes_its_weight_is_one_layer(norm: str) -> None:
    net = network(**{"model.norm": norm})
    found = CovariateShift().measure(stepped(net)).scalars
    assert {name.rpartition("/")[0] for name in found} == {"block1.conv", "hidden0.linear", "output"}
    assert all(0 < found[f"{layer}/change"] < 100 for layer in ("block1.conv", "output"))


def test_layers_stand_in_the_order_of_their_calls_and_are_evenly_chosen() -> None:
    net = network(**{"model.norm": "batch"})
    order = list(called(net, moment(net).images))
    assert order == ["block0.conv", "block0.norm", "block1.conv", "block1.norm", "hidden0.linear", "output"]
    found = CovariateShift(layers=2).measure(stepped(net)).scalars
    assert {name.rpartition("/")[0] for name in found} == {"block1.conv", "output"}


def test_when_to_measure() -> None:
    assert CovariateShift(times=2).schedule(10) == [1, 5, 10]
    assert CovariateShift(at=[0, 3]).schedule(10) == [3]
