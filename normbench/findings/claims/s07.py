"""Pooling."""

from __future__ import annotations

from normbench.findings.finding import Bound, Computation, Finding, Outcome, Published
from normbench.findings.measure import exact, largest, normal


def measure() -> Outcome:
    from torch import nn

    x = normal(4, 3, 28, 28).requires_grad_()
    pool = nn.MaxPool2d(2)
    y = pool(x)
    y.sum().backward()
    assert x.grad is not None
    average, a, b = nn.AvgPool2d(2), normal(1, 1, 8, 8, name="a"), normal(1, 1, 8, 8, name="b")
    return Outcome(
        exact(
            parameters=len(list(pool.parameters())),
            side_after_28=y.shape[-1],
            inputs_with_gradient_for_each_output=float((x.grad != 0).sum()) / y.numel(),
            departure_of_average_pooling_from_linearity=largest(average(a + b) - average(a) - average(b)),
        )
    )


FINDING = Finding(
    id="S7",
    cite="The founding text (the blog post that normbench started from)",
    claim="Pooling has no parameters, halves the size, and passes the gradient to the maximum alone.",
    published=(Published("no parameters; halves H and W; gradient to the max", "the founding text"),),
    experiment=Computation(measure, seconds=1.0),
    criterion=(
        Bound("parameters", high=0.5),
        Bound("side after 28", 13.5, 14.5),
        Bound("inputs with gradient for each output", 0.999, 1.001),
    ),
    tier=0,
    differs="Max pooling 2 x 2 of torch on random maps.",
    note="Of max pooling. Average pooling passes the gradient to all four, and is linear.",
)
