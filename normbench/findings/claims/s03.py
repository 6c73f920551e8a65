"""Parameters of a convolution."""

from __future__ import annotations

from normbench.findings.finding import Bound, Computation, Finding, Outcome, Published
from normbench.findings.measure import exact


def measure() -> Outcome:
    from torch import nn

    return Outcome(exact(parameters=sum(p.numel() for p in nn.Conv2d(3, 10, 5).parameters())))


FINDING = Finding(
    id="S3",
    cite="The founding text (the blog post that normbench started from)",
    claim="Ten 5 x 5 filters on a 3 x 32 x 32 input have 760 parameters.",
    published=(Published("760", "the founding text"),),
    experiment=Computation(measure, seconds=1.0),
    criterion=(Bound("parameters", 759.5, 760.5),),
    tier=0,
    differs="Counted on torch's layer.",
)
