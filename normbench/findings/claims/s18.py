"""The running variance."""

from __future__ import annotations

from normbench.findings.finding import Bound, Computation, Finding, Outcome, Published
from normbench.findings.measure import exact, largest, normal


def measure() -> Outcome:
    from torch import nn

    layer, x = nn.BatchNorm1d(4, momentum=1.0).double(), normal(2, 4)
    layer(x)
    assert layer.running_var is not None
    return Outcome(
        exact(
            difference_from_the_biased=largest(layer.running_var - x.var(0, unbiased=False)),
            difference_from_the_unbiased=largest(layer.running_var - x.var(0, unbiased=True)),
            ratio_of_the_two_at_batch_2=float((layer.running_var / x.var(0, unbiased=False)).mean()),
        )
    )


FINDING = Finding(
    id="S18",
    cite="The founding text (the blog post that normbench started from)",
    claim="The running variance averages the biased variances of the batches.",
    published=(Published("pseudo-code with the biased variance", "the founding text"),),
    experiment=Computation(measure, seconds=1.0),
    criterion=(Bound("difference from the biased", high=1e-10),),
    tier=0,
    differs="Torch's layer after one batch of 2 with momentum 1, float64.",
    note=(
        "Torch keeps the unbiased one, as Ioffe & Szegedy's algorithm 2 does (m / (m - 1)). At a batch of 2 "
        "without positions that is a factor of two."
    ),
)
