"""The probe `statistics` against numbers by hand."""

import copy

import pytest
import torch
from torch import nn

from normbench.models.averages import averaging, recomputed
from normbench.probes import Moment
from normbench.probes.statistics import Statistics, change
from normbench.probes.watching import without_dropout


@pytest.fixture
def net() -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 3))
    with torch.no_grad():
        net[2].running_mean.copy_(torch.arange(4.0))  # type: ignore[union-attr, operator]
        net[2].running_var.copy_(torch.arange(4.0) + 0.5)  # type: ignore[union-attr, operator]
    return net


def moment(net: nn.Module, count: int = 12) -> Moment:
    images = torch.randn(count, 1, 2, 3, generator=torch.Generator().manual_seed(1))
    return Moment(net, images, torch.arange(count) % 3, 1, 1)


def test_gaps_are_those_of_a_pass_by_hand(net: nn.Sequential) -> None:
    at = moment(net)
    found = Statistics().measure(at).scalars
    hidden = net[1](at.images.flatten(1)).detach().double()
    mean, variance = torch.arange(4.0).double(), torch.arange(4.0).double() + 0.5
    mean_gap = ((hidden.mean(0) - mean) / variance.sqrt()).square().mean().sqrt()
    variance_gap = (hidden.var(0) / variance).log().square().mean().sqrt()
    assert found["2/mean_gap"] == pytest.approx(float(mean_gap))
    assert found["2/variance_gap"] == pytest.approx(float(variance_gap))


def test_three_evaluations_are_those_by_hand(net: nn.Sequential) -> None:
    at = moment(net)
    found = Statistics().measure(at).scalars
    hidden = net[1](at.images.flatten(1)).detach()

    def logits(mean: torch.Tensor, variance: torch.Tensor) -> torch.Tensor:
        return net[4]((hidden - mean) / (variance + 1e-5).sqrt()).detach().double()

    norm = net[2]
    kinds = {
        "running": logits(norm.running_mean, norm.running_var),  # type: ignore[arg-type]
        "recomputed": logits(hidden.mean(0), hidden.var(0)),
        "batch": logits(hidden.mean(0), hidden.var(0, correction=0)),
    }
    for kind, expected in kinds.items():
        nll = torch.nn.functional.cross_entropy(expected, at.labels)
        assert found[f"nll_{kind}"] == pytest.approx(float(nll), rel=1e-5), kind
        wrong = (expected.argmax(-1) != at.labels).double().mean()
        assert found[f"error_{kind}"] == pytest.approx(100 * float(wrong)), kind
    assert norm.running_mean.tolist() == [0, 1, 2, 3], "copies are measured"


def test_batch_mates_change_what_batch_norm_gives_and_nothing_else(net: nn.Sequential) -> None:
    images = moment(net, 40).images
    own = without_dropout(copy.deepcopy(net).train())
    assert change(own, images, 8, 5) > 0.05
    assert change(own, images, 40, 5) == pytest.approx(0, abs=1e-6), "always the same mates"
    layer = nn.Sequential(nn.Flatten(), nn.Linear(6, 4), nn.LayerNorm(4), nn.Linear(4, 3))
    assert change(layer, images, 8, 5) == pytest.approx(0, abs=1e-6)
    assert "mean_gap" not in "".join(Statistics().measure(moment(layer)).scalars)


def test_a_batch_of_one_has_no_mates(net: nn.Sequential) -> None:
    layer = nn.Sequential(nn.Flatten(), nn.Linear(6, 4), nn.LayerNorm(4), nn.Linear(4, 3))
    found = Statistics().measure(moment(layer, 1)).scalars
    assert "mates" not in found
    assert "error_batch" not in found


def test_recomputed_averages_are_the_plain_mean_over_batches(net: nn.Sequential) -> None:
    parts = moment(net, 12).images.split(4)
    net.eval()
    with recomputed(net), torch.no_grad():
        for part in parts:
            net(part)
    assert not net.training
    assert net[2].momentum == 0.1
    means = torch.stack([net[1](part.flatten(1)).mean(0) for part in parts]).mean(0)
    torch.testing.assert_close(net[2].running_mean, means.detach())
    assert list(averaging(net)) == ["2"]
