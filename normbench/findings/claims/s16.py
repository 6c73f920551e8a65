"""Batch mates."""

from __future__ import annotations

from normbench.findings.finding import Bound, Computation, Finding, Outcome, Published
from normbench.findings.measure import exact, largest, norm, normal


def measure() -> Outcome:
    import torch

    layer, x = norm("batch", 6), normal(8, 6, 5, 5)
    batches = [torch.cat([x[:1], normal(7, 6, 5, 5, name=name)]) for name in ("one", "two")]
    with torch.no_grad():
        train = [layer(batch)[0] for batch in batches]
        layer.eval()
        evaluation = [layer(batch)[0] for batch in batches]
    return Outcome(
        exact(
            difference_in_training=largest(train[0] - train[1]),
            difference_in_evaluation=largest(evaluation[0] - evaluation[1]),
        )
    )


FINDING = Finding(
    id="S16",
    cite="The founding text (the blog post that normbench started from)",
    claim=(
        "With batch norm the same image gives different outputs in different batches in training, and the "
        "same in evaluation."
    ),
    published=(Published("noise in training, none in evaluation", "the founding text"),),
    experiment=Computation(measure, seconds=1.0),
    criterion=(
        Bound("difference in training", low=1e-2),
        Bound("difference in evaluation", high=1e-10),
    ),
    tier=0,
    differs="Batches of 8 random maps that share one, float64.",
)
