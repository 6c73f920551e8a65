"""The probe `activations` against numbers by hand."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from normbench.probes import Moment
from normbench.probes.activations import Activations, drift
from normbench.probes.watching import batches, units


def moment(net: nn.Module, images: Tensor, **more: object) -> Moment:
    return Moment(net, images, torch.zeros(len(images), dtype=torch.long), 1, 1, **more)  # type: ignore[arg-type]


@pytest.fixture
def images() -> Tensor:
    return torch.randn(40, 1, 2, 3, generator=torch.Generator().manual_seed(0))


def test_numbers_of_a_layer_are_those_of_numpy_and_scipy(images: Tensor) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(6, 4), nn.Sigmoid(), nn.Linear(4, 3))
    found = Activations(units=4).measure(moment(net, images))
    given = net[:2](images).detach().double().numpy()
    for axis, read in ((None, found.scalars), (0, found.arrays)):
        values = given.reshape(-1) if axis is None else given
        for number in (5, 15, 50, 85, 95):
            np.testing.assert_allclose(read[f"2/p{number}"], np.percentile(values, number, axis=0), rtol=1e-6)
        np.testing.assert_allclose(read["2/mean"], values.mean(0), rtol=1e-6)
        np.testing.assert_allclose(read["2/variance"], values.var(0), rtol=1e-6)
        np.testing.assert_allclose(read["2/skew"], stats.skew(values), rtol=1e-5)
        np.testing.assert_allclose(read["2/kurtosis"], stats.kurtosis(values), rtol=1e-5)
    output = 1 / (1 + np.exp(-given))
    saturated = (output < 0.05) | (output > 0.95)
    assert found.scalars["2/saturated"] == pytest.approx(saturated.mean())
    assert {name.partition("/")[0] for name in found.scalars} == {"2"}, "the activation function alone"


def test_saturated_and_dead_units_are_counted(images: Tensor) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 4), nn.ReLU())
    with torch.no_grad():
        net[1].weight[:2], net[1].bias[:2] = 0, 100  # type: ignore[index, operator]
        net[1].weight[2:], net[1].bias[2:] = 0, 0  # type: ignore[index, operator]
        net[3].weight[:], net[3].bias[:] = 0, torch.tensor([-1.0, -1, -1, 1])  # type: ignore[index, operator]
        net[3].weight[3] = 1  # type: ignore[index, operator]
    found = Activations().measure(moment(net, images))
    assert found.scalars["2/saturated"] == 0.5
    assert found.arrays["2/saturated"].tolist() == [1, 1, 0, 0]
    assert found.scalars["4/dead"] == 1.0, "what is fed by constants is constant"
    net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU())
    with torch.no_grad():
        net[0].weight[0], net[0].bias[0] = 0, -1  # type: ignore[index, operator]
        net[0].weight[1], net[0].bias[1] = 1, 0  # type: ignore[index, operator]
    found = Activations().measure(moment(net, images))
    assert found.scalars["1/dead"] == 0.5
    assert sorted(found.arrays["1/dead"].tolist()) == [0, 1]


def test_drift_is_the_median_over_units_of_the_change_over_the_spread() -> None:
    now = {"a/p15": np.array([0.0, 0, 0]), "a/p50": np.array([1.0, 1, 1]), "a/p85": np.array([2.0, 4, 0])}
    before = {"a/p15": np.array([0.0, 0, 0]), "a/p50": np.array([0.0, 1, 1]), "a/p85": np.array([2.0, 2, 0])}
    assert drift("a", before, now) == pytest.approx(np.median([(1 / 3) / 2, (2 / 3) / 4]))
    assert drift("a", {}, now) is None


def test_a_second_measurement_knows_the_first(images: Tensor) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(6, 4), nn.ReLU())
    first = Activations().measure(moment(net, images))
    assert "2/drift" not in first.scalars
    again = Activations().measure(moment(net, images, previous=first.arrays))
    assert again.scalars["2/drift"] == 0


def test_a_unit_that_is_not_finite_gives_no_number(images: Tensor) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(6, 2), nn.ReLU())
    with torch.no_grad():
        net[1].bias[0] = math.inf  # type: ignore[index, operator]
    found = Activations().measure(moment(net, images))
    assert np.isnan(found.arrays["2/mean"]).tolist() == [True, False]


def test_memory_is_bounded_by_what_was_asked_for() -> None:
    net = nn.Sequential(nn.Conv2d(1, 5, 3), nn.ReLU())
    found = Activations(values=16, units=2).measure(moment(net, torch.randn(8, 1, 30, 30)))
    assert found.arrays["1/p50"].shape == (2,)


def test_a_unit_is_a_channel_or_a_feature_of_a_token() -> None:
    assert units(torch.zeros(7, 3)).shape == (3, 7, 1)
    assert units(torch.zeros(7, 3, 2, 4)).shape == (3, 7, 8)
    assert units(torch.zeros(7, 5, 3), nn.Linear(3, 3)).shape == (3, 7, 5)
    assert units(torch.zeros(7, 3, 5), nn.BatchNorm1d(3)).shape == (3, 7, 5)
    assert [len(part) for part in batches(torch.zeros(7, 1), 3)] == [3, 3]
    assert [len(part) for part in batches(torch.zeros(2, 1), 3)] == [2]
