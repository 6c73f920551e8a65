"""A bias before batch norm."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from normbench.findings.finding import Bound, Computation, Finding, Outcome, Published
from normbench.findings.measure import exact, largest, norm, normal

if TYPE_CHECKING:
    from torch import Tensor


def measure() -> Outcome:
    import torch
    from torch.nn import functional as F

    x, weight = normal(16, 3, 10, 10), normal(6, 3, 3, 3, name="w")
    bias = normal(6, name="b").requires_grad_()
    layer = norm("batch", 6)

    def change(between: Callable[[Tensor], Tensor]) -> Tensor:
        return layer(between(F.conv2d(x, weight, bias))) - layer(between(F.conv2d(x, weight)))

    plain = layer(F.conv2d(x, weight, bias))
    (gradient,) = torch.autograd.grad((plain * normal(*plain.shape, name="g")).sum(), bias)
    return Outcome(
        exact(
            largest_change_of_the_output=largest(change(lambda y: y)),
            largest_gradient_of_the_bias=largest(gradient),
            change_through_max_pooling=largest(change(lambda y: F.max_pool2d(y, 2))),
            change_through_relu=largest(change(torch.relu)),
        )
    )


FINDING = Finding(
    id="S14",
    cite="The founding text (the blog post that normbench started from)",
    claim="A bias in the convolution before batch norm is redundant.",
    published=(Published("redundant", "the founding text"),),
    experiment=Computation(measure, seconds=1.0),
    criterion=(
        Bound("largest change of the output", high=1e-10),
        Bound("largest gradient of the bias", high=1e-10),
    ),
    tier=0,
    differs="In training, float64, biases of standard deviation 1.",
    note=(
        "Also through max pooling, but not through a ReLU between bias and norm; and after training, a "
        "changed bias does change evaluation, whose running mean does not follow."
    ),
)
