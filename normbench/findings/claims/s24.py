"""Training and evaluation."""

from __future__ import annotations

from normbench.findings.finding import Bound, Computation, Finding, Outcome, Published
from normbench.findings.measure import exact, largest, norm, normal


def measure() -> Outcome:
    import torch
    from torch import nn

    x, found = normal(16, 8, 5, 5), {}
    for name in ("layer", "instance", "group"):
        layer = norm(name, 8)
        train, small = layer(x), layer(x[:2])
        evaluation = layer.eval()(x)
        found[name] = max(largest(train - evaluation), largest(train[:2] - small))
    tracked = nn.InstanceNorm2d(8, track_running_stats=True).double()
    with torch.no_grad():
        change = largest(tracked(x) - tracked.eval()(x))
    return Outcome(
        exact(
            largest_difference=max(found.values()),
            difference_of_instance_norm_that_tracks_running_statistics=change,
        )
    )


FINDING = Finding(
    id="S24",
    cite="The founding text (the blog post that normbench started from)",
    claim="Layer, instance and group norm compute the same in training and evaluation, whatever the batch.",
    published=(Published("independent of the batch", "the founding text"),),
    experiment=Computation(measure, seconds=1.0),
    criterion=(Bound("largest difference", high=1e-10),),
    tier=0,
    differs="Batches of 16 and 2, 8 channels, float64.",
    note="As they are by default: torch's InstanceNorm2d(track_running_stats=True) does change in evaluation.",
)
