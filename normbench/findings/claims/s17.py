"""The running average."""

from __future__ import annotations

from normbench.findings.finding import Bound, Computation, Finding, Outcome, Published
from normbench.findings.measure import exact, largest, normal


def measure() -> Outcome:
    from torch import nn

    layer, running = nn.BatchNorm2d(4).double(), normal(4) * 0
    for step in range(5):
        x = normal(8, 4, 3, 3, name=str(step))
        layer(x)
        running = 0.9 * running + 0.1 * x.mean((0, 2, 3))
    assert layer.running_mean is not None
    return Outcome(exact(largest_difference=largest(layer.running_mean - running)))


FINDING = Finding(
    id="S17",
    cite="The founding text (the blog post that normbench started from)",
    claim="The running mean is (1 - b) old + b new, with b = 0.1.",
    published=(Published("b = 0.1", "the founding text"),),
    experiment=Computation(measure, seconds=1.0),
    criterion=(Bound("largest difference", high=1e-10),),
    tier=0,
    differs="Torch's layer over five batches, float64.",
    note=(
        "The opposite of what optimizers call momentum, where 0.9 keeps the old; the text writes it with the "
        "letter of the shift, beta."
    ),
)
