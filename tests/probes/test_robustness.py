"""The probe `robustness` against attacks by hand, on real digits."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from normbench.data.corruptions import corrupted
from normbench.errors import UsageError
from normbench.probes import Moment
from normbench.probes.robustness import Robustness, attacked, climbing, places
from normbench.spec.corruptions import STRENGTHS, corruption

from .digits import moment, perceptron, state, unchanged


@pytest.fixture
def at() -> Moment:
    """A network that was trained a little: an untrained one is wrong with and without attacks."""
    net = perceptron(nn.BatchNorm1d)
    at = moment(net, 500, seed=3)
    optimizer = torch.optim.SGD(net.parameters(), 0.5)
    for _ in range(20):
        optimizer.zero_grad()
        F.cross_entropy(net(at.images), at.labels).backward()
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return at


def share(net: nn.Module, at: Moment, pixels: Tensor, labels: Tensor) -> float:
    assert at.samples is not None
    return float((net.eval()(at.samples.standardized(pixels)).argmax(-1) == labels).double().mean())


def test_accuracies_are_those_by_hand(at: Moment) -> None:
    before = state(at.net)
    found = Robustness(images=100, strength=0.1, steps=5).measure(at).scalars
    assert unchanged(at.net, before)
    images, labels = at.held_out(100)
    assert at.samples is not None
    pixels = at.samples.pixels(images)
    assert (float(pixels.min()), float(pixels.max())) == pytest.approx((0, 1), abs=1e-6)
    assert found["accuracy_clean"] == share(at.net, at, pixels, labels)
    for kind in STRENGTHS:
        changed = corrupted(pixels.clamp(0, 1), corruption(kind, ""), 3, torch.arange(100))
        assert found[f"accuracy_{kind}"] == share(at.net, at, changed, labels), kind
    mean = sum(found[f"accuracy_{kind}"] for kind in STRENGTHS) / len(STRENGTHS)
    assert found["accuracy_corrupted"] == pytest.approx(mean)

    def slope(where: Tensor) -> Tensor:
        """The gradient by hand: through the two linear layers and the norm's running averages."""
        assert at.samples is not None
        one, norm, two = at.net[1], at.net[2], at.net[4]  # type: ignore[index]
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        hidden = (one(at.samples.standardized(where).flatten(1)) - norm.running_mean) * scale + norm.bias
        wrong = two(hidden.relu()).softmax(-1) - F.one_hot(labels, 10)
        back = ((wrong @ two.weight) * (hidden > 0) * scale) @ one.weight
        return back.detach().view_as(where)  # over the standard deviation, which is positive: the same sign

    fgsm = (pixels + 0.1 * slope(pixels).sign()).clamp(0, 1)
    assert found["accuracy_fgsm"] == share(at.net, at, fgsm, labels)
    there = (pixels + 0.1 * places(pixels, 3)).clamp(0, 1)
    for _ in range(5):
        there = there + 2.5 * 0.1 / 5 * slope(there).sign()
        there = torch.minimum(torch.maximum(there, pixels - 0.1), pixels + 0.1).clamp(0, 1)
    assert found["accuracy_pgd"] == pytest.approx(share(at.net, at, there, labels), abs=0.011), "rounding of one image"
    assert found["accuracy_pgd"] <= found["accuracy_fgsm"] < found["accuracy_clean"] - 0.2


def test_an_attack_stays_in_reach_and_raises_the_loss(at: Moment) -> None:
    images, labels = at.held_out(50)
    assert at.samples is not None
    pixels = at.samples.pixels(images).clamp(0, 1)
    net, last = at.net.eval(), 0.0
    slope = climbing(net, at.samples.standardized, labels)
    for strength in (0.02, 0.1):
        there = attacked(pixels, pixels, slope, strength, strength / 4, 10)
        assert float((there - pixels).abs().max()) <= strength + 1e-6
        assert 0 <= float(there.min()) <= float(there.max()) <= 1
        loss = F.cross_entropy(net(at.samples.standardized(there)), labels).item()
        assert loss > last
        last = loss


def test_what_is_drawn_is_drawn_by_the_seed_and_nothing_else(at: Moment) -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    probe = Robustness(images=40, steps=2)
    one = probe.measure(at).scalars
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(8)
    assert probe.measure(at).scalars == one
    pixels = torch.zeros(6, 1, 4, 4)
    assert torch.equal(places(pixels, 1)[:3], places(pixels[:3], 1)), "of each image by itself"
    assert not torch.equal(places(pixels, 1), places(pixels, 2))
    assert places(pixels, 1).min() < -0.8
    assert places(pixels, 1).max() > 0.8


def test_without_corruptions_and_with_unknown_ones(at: Moment) -> None:
    found = Robustness(images=20, corruptions=["noise=0.5"], steps=1).measure(at).scalars
    assert set(found) == {f"accuracy_{kind}" for kind in ("clean", "noise", "corrupted", "fgsm", "pgd")}
    assert "accuracy_corrupted" not in Robustness(images=20, corruptions=[], steps=1).measure(at).scalars
    with pytest.raises(UsageError, match=r"probes.robustness.corruptions: .*did you mean 'noise'"):
        Robustness(corruptions=["nois"])


def test_an_answer_that_is_not_finite_is_wrong() -> None:
    net = perceptron()
    with torch.no_grad():
        net[4].bias.fill_(math.nan)  # type: ignore[operator, union-attr]
    assert set(Robustness(images=20, steps=1).measure(moment(net)).scalars.values()) == {0.0}
