"""Building norms, and the parts that models are handed."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from normbench.errors import UsageError
from normbench.norms import NORMS, Norms, build_norm, register_norm
from normbench.norms.contract import set_step


class WeightNorm(nn.Identity):
    """Acts on the layer before it."""

    def __init__(self, num_channels: int) -> None:
        super().__init__()

    def reparametrize(self, layer: nn.Module) -> None:
        weight_norm(layer)


class Thresholded(nn.Module):
    """Takes the place of the activation, and opens with the steps."""

    replaces_activation = True

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.gate = 0.0

    def set_step(self, step: int, total: int) -> None:
        self.gate = (step + 1) / total

    def forward(self, x: Tensor) -> Tensor:
        return x.relu() * self.gate


def layout(num_channels: int, spatial: bool = True) -> nn.Module:
    """A builder of version 0.1."""
    return nn.BatchNorm2d(num_channels) if spatial else nn.BatchNorm1d(num_channels)


@pytest.fixture(autouse=True)
def _test_norms() -> Iterator[None]:
    made = {"reparametrizing": WeightNorm, "thresholded": Thresholded, "layout": layout}
    for name, build in made.items():
        register_norm(name)(build)
    yield
    for name in made:
        NORMS.remove(name)


def test_norm_and_activation_come_in_the_order_asked_for() -> None:
    layer, act = nn.Linear(3, 4), nn.ReLU()
    for name in ("batch", "none"):
        norms = Norms(name)
        assert [part for part, _ in norms.after(layer, act, 4)] == ["norm", "act"]
        assert [part for part, _ in norms.after(layer, act, 4, "after")] == ["act", "norm"]
        assert [part for part, _ in norms.after(layer, None, 4)] == ["norm"]
    assert isinstance(Norms("none").after(layer, act, 4)[0][1], nn.Identity)


def test_a_norm_that_replaces_the_activation_stands_alone() -> None:
    assert [part for part, _ in Norms("thresholded").after(nn.Linear(3, 4), nn.ReLU(), 4, "after")] == ["norm"]


def test_a_norm_reaches_the_layer_before_it() -> None:
    layer = nn.Conv2d(1, 4, 3)
    Norms("reparametrizing").after(layer, nn.ReLU(), 4)
    assert hasattr(layer, "parametrizations")


def test_norms_are_told_the_step() -> None:
    net = nn.Sequential(nn.Linear(3, 4), build_norm("thresholded", 4), build_norm("batch", 4))
    set_step(net, 4, 10)
    assert net[1].gate == 0.5


def test_virtual_devices_and_the_layout_are_handed_to_who_asks() -> None:
    assert Norms("batch", {}, 4).after(nn.Linear(3, 4), None, 4)[0][1].virtual_devices == 4
    assert not hasattr(Norms("layer", {}, 4).build(4), "virtual_devices")
    assert isinstance(Norms("layout").after(nn.Linear(3, 4), None, 4)[0][1], nn.BatchNorm1d)
    assert isinstance(Norms("layout").after(nn.Conv2d(3, 4, 1), None, 4)[0][1], nn.BatchNorm2d)
    assert NORMS.get("batch").facts["virtual"]
    assert not NORMS.get("ghost").facts["virtual"]
    assert torch.equal(build_norm("batch", 3, virtual_devices=2)(torch.ones(4, 3)), torch.zeros(4, 3))


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("btach", {}, "unknown norm 'btach': did you mean 'batch'"),
        ("group", {"groups": 3}, r"groups=3 does not divide 8 channels: choose one of 1, 2, 4, 8$"),
        ("group", {"groups": 0}, r"norm_options\.groups=0: expected a whole number from 1"),
        ("group", {"groups": 2.5}, r"groups=2\.5: expected a whole number"),
        ("batch", {"epsilon": 1}, r"no such option; unknown option 'epsilon': did you mean 'eps'\? known: eps"),
        ("batch", {"eps": -1.0}, r"norm_options\.eps=-1\.0: expected a number above 0"),
        ("batch", {"eps": 0}, "eps=0: expected a number above 0"),
        ("batch", {"momentum": 1.5}, r"momentum=1\.5: expected a number from 0 to 1 or null"),
        ("none", {"eps": 1}, r"'none' has no such option; it takes no options"),
        ("ghost", {"size": 0}, r"size=0: expected a whole number from 1"),
        ("sync_batch", {"momentum": "off"}, r"momentum=off: expected a number"),
    ],
)
def test_what_cannot_be_built_is_named(name: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        build_norm(name, 8, **options)
