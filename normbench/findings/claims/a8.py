"""Weight decay and growing rates."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from normbench.findings.finding import Bound, Computation, Finding, Outcome, Published
from normbench.findings.measure import digits, exact, largest, normal

if TYPE_CHECKING:
    from torch import Tensor

STEPS, RATE, DECAY = 200, 0.005, 0.5


def measure() -> Outcome:
    import torch
    from torch.nn import functional as F

    x, labels = digits(256)
    x = x.double().flatten(1)
    shrink = 1 - RATE * DECAY
    sizes = ((64, 784), (64, 64))
    head = normal(10, 64, name="head") / 8

    def logits(weights: list[Tensor]) -> Tensor:
        y = x
        for weight in weights:
            y = y @ weight.T
            y = torch.relu((y - y.mean(0)) / torch.sqrt(y.var(0, unbiased=False) + 1e-300))
        return y @ head.T

    def trained(rate: Callable[[int], float], decay: float) -> Tensor:
        weights = [normal(*size, name=str(place)) / size[1] ** 0.5 for place, size in enumerate(sizes)]
        for step in range(STEPS):
            weights = [weight.detach().requires_grad_() for weight in weights]
            gradients = torch.autograd.grad(F.cross_entropy(logits(weights), labels), weights)
            weights = [w - rate(step) * (g + decay * w) for w, g in zip(weights, gradients, strict=True)]
        return logits([weight.detach() for weight in weights])

    decayed = trained(lambda step: RATE, DECAY)
    growing = trained(lambda step: RATE * shrink ** (-2 * step - 1), 0.0)
    neither = trained(lambda step: RATE, 0.0)
    size = largest(decayed)
    return Outcome(
        exact(
            relative_difference_of_logits=largest(decayed - growing) / size,
            relative_difference_without_either=largest(decayed - neither) / size,
        )
    )


FINDING = Finding(
    id="A8",
    cite="Li & Arora 2020 (arXiv 1910.07454)",
    claim=(
        "For weights whose scale does not matter, weight decay with a constant rate is the same as an "
        "exponentially growing rate without it."
    ),
    published=(Published("exact equivalence in function space", "theorem on the constant rate", verified=False),),
    experiment=Computation(measure, seconds=5.0),
    criterion=(Bound("relative difference of logits", high=1e-6),),
    tier=0,
    differs=(
        "Two hidden layers of 64 on 256 digits, batch norm without gamma and beta behind every trained layer, "
        "frozen head, SGD without momentum, rate 0.005, decay 0.5, 200 steps, float64, eps 0."
    ),
    earlier=(
        "Rate 0.1 and decay 0.05, on a batch that was of one class by mistake: difference 0.36, contradicted. "
        "At that rate training is chaotic: the difference is 1e-15 after one step, 2e-9 after 20 and 0.2 after 50, "
        "as rounding errors double with each step. It tested rounding, not the claim; the bound is as it was.",
    ),
)
