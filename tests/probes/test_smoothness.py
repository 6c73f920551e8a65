"""The probe `smoothness` against a walk by hand, on real digits."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from normbench.probes.smoothness import Smoothness

from .digits import moment, perceptron, state, unchanged


@pytest.mark.parametrize("norm", [nn.Identity, nn.BatchNorm1d])
def test_numbers_are_those_of_a_walk_by_hand(norm: type[nn.Module]) -> None:
    net = perceptron(norm)
    kept, at = state(net), moment(copy.deepcopy(net), before=net, lr=0.5)
    found = Smoothness(lengths=(0.5, 1, 4)).measure(at)
    assert unchanged(net, kept)

    def there(far: float, slope: list[torch.Tensor] | None = None) -> tuple[float, list[torch.Tensor]]:
        own = copy.deepcopy(net)
        with torch.no_grad():
            for one, part in zip(own.parameters(), slope or [], strict=slope is not None):
                one.sub_(far * part)
        loss = F.cross_entropy(own(at.images), at.labels)
        loss.backward()
        return float(loss), [one.grad for one in own.parameters() if one.grad is not None]

    def joined(parts: list[torch.Tensor]) -> torch.Tensor:
        return torch.cat([part.flatten() for part in parts]).double()

    loss, slope = there(0)
    walk = [there(length * 0.5, slope) for length in (0.5, 1, 4)]
    losses = [each for each, _ in walk]
    changes = [float((joined(parts) - joined(slope)).norm()) for _, parts in walk]
    np.testing.assert_allclose(found.arrays["losses"], losses, rtol=1e-5)
    np.testing.assert_allclose(found.arrays["changes"], changes, rtol=1e-4)
    size = float(joined(slope).norm())
    beta = max(change / (length * 0.5 * size) for change, length in zip(changes, (0.5, 1, 4), strict=True))
    expected = {
        "loss": loss,
        "loss_low": min(losses),
        "loss_high": max(losses),
        "loss_range": max(losses) - min(losses),
        "gradient": size,
        "gradient_low": min(changes),
        "gradient_mean": sum(changes) / 3,
        "gradient_high": max(changes),
        "gradient_range": max(changes) - min(changes),
        "beta": beta,
    }
    assert found.scalars == pytest.approx(expected, rel=1e-4)


def test_on_a_parabola_beta_is_the_curvature() -> None:
    class Parabola(nn.Module):
        """Logits whose cross-entropy is almost quadratic in the one weight: (w, -w) near 0."""

        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.tensor(1e-2))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.w * torch.tensor([[1.0, -1.0]]).expand(len(images), 2)

    at = moment(Parabola(), 2, before=Parabola(), lr=1e-3)
    at.labels[:] = torch.tensor([0, 1])  # the mean of log(1 + exp(-2w)) and log(1 + exp(2w)) has curvature 1 at 0
    assert Smoothness().measure(at).scalars["beta"] == pytest.approx(1, rel=1e-2)


def test_dropout_is_the_same_at_each_length_and_random_numbers_are_as_before() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(784, 10))
    at = moment(copy.deepcopy(net), before=net, lr=1e-9)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    found = Smoothness().measure(at).scalars
    assert torch.equal(torch.get_rng_state(), before)
    assert found["loss_range"] < 1e-5, "steps of next to no length, under one mask"
    assert found["gradient_high"] < 1e-5


def test_what_is_not_finite_gives_no_number() -> None:
    net = perceptron()
    with torch.no_grad():
        net[4].bias.fill_(math.nan)  # type: ignore[operator, union-attr]
    found = Smoothness().measure(moment(copy.deepcopy(net), before=net, lr=0.5)).scalars
    assert all(math.isnan(value) for value in found.values())


def test_a_step_is_made_before_it_is_measured() -> None:
    assert Smoothness(at=[0, 1, 5]).schedule(10) == [1, 5]
    assert Smoothness(times=2).schedule(10) == [5, 10]
