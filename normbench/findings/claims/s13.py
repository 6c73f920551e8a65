"""What batch norm does to a batch."""

from __future__ import annotations

from normbench.findings.finding import Bound, Computation, Finding, Outcome, Published
from normbench.findings.measure import exact, largest, normal
from normbench.norms import build_norm


def measure() -> Outcome:
    import torch

    layer = build_norm("batch", 8).double()
    x = 3 + 2 * normal(32, 8, 7, 7)
    with torch.no_grad():
        y, small = layer(x), layer(1e-3 * normal(32, 8, 7, 7))
    axes = (0, 2, 3)
    return Outcome(
        exact(
            largest_mean=largest(y.mean(axes)),
            largest_departure_of_the_variance_from_1=largest(y.var(axes, unbiased=False) - 1),
            variance_for_an_input_of_variance_1e_6=float(small.var(axes, unbiased=False).mean()),
        )
    )


FINDING = Finding(
    id="S13",
    cite="The founding text (the blog post that normbench started from)",
    claim="Batch norm gives each channel mean zero and variance one.",
    published=(Published("mean 0, variance 1", "the founding text"),),
    experiment=Computation(measure, seconds=1.0),
    criterion=(
        Bound("largest mean", high=1e-6),
        Bound("largest departure of the variance from 1", high=1e-4),
    ),
    tier=0,
    differs="In training, before gamma and beta move, float64, an input of variance 4.",
    note="Up to var / (var + eps): a channel whose variance is as small as eps keeps a variance well below one.",
)
