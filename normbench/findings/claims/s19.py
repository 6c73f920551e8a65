"""Bessel's correction."""

from __future__ import annotations

from normbench.findings.finding import Bound, Computation, Finding, Outcome, Published
from normbench.findings.measure import exact, normal


def measure() -> Outcome:
    import torch

    population = normal(64)
    pairs = torch.cartesian_prod(population, population)  # every batch of two there is
    biased = pairs.var(1, unbiased=False).mean() / population.var(unbiased=False)
    return Outcome(
        exact(mean_biased_variance_over_the_population_variance=float(biased), the_same_unbiased=float(2 * biased))
    )


FINDING = Finding(
    id="S19",
    cite="The founding text (the blog post that normbench started from)",
    claim="No correction by n / (n - 1) is needed, since batch norm does not estimate a population.",
    published=(Published("correction off", "the founding text"),),
    experiment=Computation(measure, seconds=1.0),
    criterion=(Bound("mean biased variance over the population variance", 0.98, 1.02),),
    tier=0,
    differs="All 4,096 batches of two out of 64 numbers, with replacement.",
    note=(
        "Right for normalising a batch. The running average, though, is used as an estimate of the "
        "population, and the biased one of batches of two is half of it."
    ),
)
