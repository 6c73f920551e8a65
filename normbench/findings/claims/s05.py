"""Receptive field."""

from __future__ import annotations

from normbench.findings.finding import Bound, Computation, Finding, Outcome, Published
from normbench.findings.measure import exact


def measure() -> Outcome:
    import torch

    x = torch.zeros(1, 1, 15, 15, requires_grad=True)
    y = x
    for _ in range(3):
        y = torch.nn.functional.conv2d(y, torch.ones(1, 1, 3, 3))
    y[0, 0, 4, 4].backward()
    assert x.grad is not None
    return Outcome(exact(side_of_the_field=float((x.grad != 0).any(-1).sum())))


FINDING = Finding(
    id="S5",
    cite="The founding text (the blog post that normbench started from)",
    claim="Three 3 x 3 convolutions see 7 x 7 pixels.",
    published=(Published("7 x 7", "the founding text"),),
    experiment=Computation(measure, seconds=1.0),
    criterion=(Bound("side of the field", 6.5, 7.5),),
    tier=0,
    differs="The pixels on which one output depends, by its gradient; stride 1, no pooling.",
)
