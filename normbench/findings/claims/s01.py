"""The size of a convolution's output."""

from __future__ import annotations

from normbench.findings.finding import Bound, Computation, Finding, Outcome, Published
from normbench.findings.measure import exact

GRID = [(w, k, p, s) for w in range(5, 33) for k in (1, 2, 3, 5) for p in (0, 1, 2) for s in (1, 2, 3)]


def measure() -> Outcome:
    import torch

    written = floored = 0
    for w, k, p, s in GRID:
        side = torch.nn.functional.conv2d(torch.zeros(1, 1, w, w), torch.zeros(1, 1, k, k), stride=s, padding=p).shape[
            -1
        ]
        written += side == (w - k + 2 * p) / s + 1
        floored += side == (w - k + 2 * p) // s + 1
    return Outcome(
        exact(share_of_sizes_that_agree=written / len(GRID), share_with_the_quotient_rounded_down=floored / len(GRID))
    )


FINDING = Finding(
    id="S1",
    cite="The founding text (the blog post that normbench started from)",
    claim="A convolution's output side is (W - K + 2P) / S + 1.",
    published=(Published("W' = (W - K + 2P) / S + 1", "the founding text"),),
    experiment=Computation(measure, seconds=1.0),
    criterion=(Bound("share of sizes that agree", low=0.999),),
    tier=0,
    differs="Torch's convolution over a grid of 1,008 widths, kernels, paddings and strides.",
    note=(
        "The formula holds wherever the stride divides; elsewhere the quotient is rounded down: kernel 3, "
        "padding 1, stride 2 on 32 gives 16, not 16.5. With the floor it holds everywhere."
    ),
)
