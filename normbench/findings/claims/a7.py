"""Scale invariance of the weights before batch norm."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from normbench.findings.finding import Bound, Computation, Finding, Outcome, Published
from normbench.findings.measure import exact, largest, normal
from normbench.norms import build_norm

if TYPE_CHECKING:
    from torch import Tensor


def measure() -> Outcome:
    import torch
    from torch.nn import functional as F

    x, start = normal(32, 3, 8, 8), normal(6, 3, 3, 3, name="w")
    target = normal(32, 6, 6, 6, name="t")
    layer = build_norm("batch", 6, eps=1e-12).double()

    def gradient(weight: Tensor) -> tuple[Tensor, Tensor]:
        weight = weight.detach().requires_grad_()
        y = layer(F.conv2d(x, weight))
        (found,) = torch.autograd.grad(((torch.relu(y) - target) ** 2).mean(), weight)
        return y.detach(), found

    (y, g), (scaled, smaller) = gradient(start), gradient(10 * start)
    sizes, weight = [float(start.norm())], start
    for _ in range(100):
        weight = weight - 1.0 * gradient(weight)[1]
        sizes.append(float(weight.norm()))
    return Outcome(
        exact(
            largest_change_of_the_output_at_a_10=largest(scaled - y),
            ratio_of_gradients_at_a_10=float(g.norm() / smaller.norm()),
            cosine_of_gradient_and_weight=abs(float((g * start).sum() / (g.norm() * start.norm()))),
            least_growth_of_the_norm_in_a_step=min(b - a for a, b in pairwise(sizes)),
        )
    )


FINDING = Finding(
    id="A7",
    cite="Ioffe & Szegedy 2015 (arXiv 1502.03167), section 3.3; van Laarhoven 2017 (arXiv 1706.05350)",
    claim=(
        "Batch norm does not see the scale of the weights before it: the gradient shrinks as they grow, "
        "stands at right angles to them, and without weight decay their norm only grows."
    ),
    published=(Published("BN(aWu) = BN(Wu); dBN(aWu)/d(aW) = (1/a) dBN(Wu)/dW", "section 3.3"),),
    experiment=Computation(measure, seconds=1.0),
    criterion=(
        Bound("largest change of the output at a 10", high=1e-6),
        Bound("ratio of gradients at a 10", 9.9999, 10.0001),
        Bound("cosine of gradient and weight", high=1e-5),
        Bound("least growth of the norm in a step", low=-1e-12),
    ),
    tier=0,
    differs=(
        "One random convolution and batch norm, float64, eps 1e-12 (the claim is of eps 0), 100 steps of SGD at rate 1."
    ),
)
