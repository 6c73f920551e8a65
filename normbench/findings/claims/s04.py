"""Operations of a convolution."""

from __future__ import annotations

from normbench.findings.finding import Bound, Computation, Finding, Outcome, Published
from normbench.findings.measure import exact


def measure() -> Outcome:
    import torch
    from torch import nn
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        nn.Conv2d(3, 10, 5, padding=2, bias=False)(torch.zeros(1, 3, 32, 32))
    operations = counter.get_total_flops()
    return Outcome(exact(operations=operations, multiply_adds=operations / 2))


FINDING = Finding(
    id="S4",
    cite="The founding text (the blog post that normbench started from)",
    claim="Ten 5 x 5 filters, same padding, on a 3 x 32 x 32 input take 768,000 floating-point operations.",
    published=(Published("768k FLOPs", "the founding text"),),
    experiment=Computation(measure, seconds=1.0),
    criterion=(Bound("operations", 767_999, 768_001),),
    tier=0,
    differs="Counted by torch's own counter, without the bias.",
    note=(
        "768,000 is right for multiply-adds, a common unit; each is two operations, so that there are "
        "1,536,000, and the backward pass takes about twice as many again."
    ),
)
