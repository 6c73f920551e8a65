"""Shapes of a convolution."""

from __future__ import annotations

from normbench.findings.finding import Bound, Computation, Finding, Outcome, Published
from normbench.findings.measure import exact


def measure() -> Outcome:
    import torch
    from torch import nn

    agree = 0
    cases = [(n, c, out) for n in (1, 4) for c in (1, 3, 8) for out in (2, 16)]
    for n, c, out in cases:
        layer = nn.Conv2d(c, out, 3)
        agree += layer.weight.shape == (out, c, 3, 3) and layer(torch.zeros(n, c, 10, 9)).shape == (n, out, 8, 7)
    return Outcome(
        exact(share_of_cases=agree / len(cases), depth_with_two_groups=nn.Conv2d(8, 4, 3, groups=2).weight.shape[1])
    )


FINDING = Finding(
    id="S6",
    cite="The founding text (the blog post that normbench started from)",
    claim="A filter is as deep as the input has channels, and the output is N x C_out x H' x W'.",
    published=(Published("filter depth = input channels", "the founding text"),),
    experiment=Computation(measure, seconds=1.0),
    criterion=(Bound("share of cases", low=0.999),),
    tier=0,
    differs="Torch's layer, 12 cases.",
    note="For ungrouped convolutions; with two groups on 8 channels a filter is 4 deep.",
)
