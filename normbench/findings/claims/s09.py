"""Convolutions without an activation between."""

from __future__ import annotations

from normbench.findings.finding import Bound, Computation, Finding, Outcome, Published
from normbench.findings.measure import exact, largest, normal


def measure() -> Outcome:
    import torch
    from torch.nn import functional as F

    x = normal(2, 3, 12, 12)
    first, second = normal(4, 3, 3, 3, name="first"), normal(5, 4, 3, 3, name="second")
    # The kernel of the two together: the first's, correlated in full with the second's.
    flipped = second.flip(-1, -2)
    whole = torch.stack([F.conv2d(first.transpose(0, 1), one.unsqueeze(0), padding=2) for one in flipped])[:, :, 0]
    twice, once = F.conv2d(F.conv2d(x, first), second), F.conv2d(x, whole)
    padded = F.conv2d(F.conv2d(x, first, padding=1), second, padding=1) - F.conv2d(x, whole, padding=2)
    return Outcome(
        exact(
            largest_difference=largest(twice - once),
            largest_difference_at_a_zero_padded_border=largest(padded),
        )
    )


FINDING = Finding(
    id="S9",
    cite="The founding text (the blog post that normbench started from)",
    claim="Stacked convolutions without ReLU are one convolution.",
    published=(Published("collapse to one linear map", "the founding text"),),
    experiment=Computation(measure, seconds=1.0),
    criterion=(Bound("largest difference", high=1e-10),),
    tier=0,
    differs="Two random 3 x 3 convolutions and the 5 x 5 one that they make, float64, without padding.",
    note=(
        "Zero padding between the two changes the outermost pixels, so that padded networks collapse "
        "everywhere but at the border."
    ),
)
