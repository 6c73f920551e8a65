"""Batch mates and evaluation."""

from __future__ import annotations

from normbench.findings.finding import Bound, Computation, Finding, Outcome, Published, Quantity
from normbench.findings.measure import largest, norm, normal


def measure() -> Outcome:
    import torch

    x, found = normal(8, 8, 5, 5), {}
    mates = torch.cat([x[:1], normal(7, 8, 5, 5, name="mates")])
    for name in ("layer", "group", "instance", "batch"):
        layer = norm(name, 8)
        with torch.no_grad():
            here, there = layer(x)[0], layer(mates)[0]
            evaluation = layer.eval()(x)[0]
        found[name] = max(largest(here - there), largest(here - evaluation))
    return Outcome({f"largest difference, {name} norm": Quantity.exact(value) for name, value in found.items()})


FINDING = Finding(
    id="B6",
    cite="Ba, Kiros & Hinton 2016 (arXiv 1607.06450), section 5, table 1; Wu & He 2018 (arXiv 1803.08494), section 3",
    claim=(
        "Layer, group and instance norm give an image the same output whatever its batch mates, in training "
        "and evaluation; batch norm does not."
    ),
    published=(
        Published("invariant to the other training cases", "Ba et al., section 5"),
        Published("computation independent of batch sizes", "Wu & He, section 3"),
    ),
    experiment=Computation(measure, seconds=1.0),
    criterion=(
        Bound("largest difference, layer norm", high=1e-6),
        Bound("largest difference, group norm", high=1e-6),
        Bound("largest difference, instance norm", high=1e-6),
        Bound("largest difference, batch norm", low=1e-2),
    ),
    tier=0,
    differs="Random maps of 8 channels, float64.",
)
