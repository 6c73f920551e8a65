"""The shape of the distribution."""

from __future__ import annotations

from typing import TYPE_CHECKING

from normbench.findings.finding import Bound, Computation, Finding, Outcome, Published
from normbench.findings.measure import digits, exact, first_convolution, largest
from normbench.norms import build_norm

if TYPE_CHECKING:
    from torch import Tensor


def measure() -> Outcome:
    import torch

    x, _ = digits(500)
    with torch.no_grad():
        before = first_convolution()(x).double()
        after = build_norm("batch", 32).double()(before)

    def moments(values: Tensor) -> tuple[Tensor, Tensor]:
        rows = values.transpose(0, 1).flatten(1)
        z = (rows - rows.mean(1, keepdim=True)) / rows.std(1, unbiased=False, keepdim=True)
        return (z**3).mean(1), (z**4).mean(1) - 3

    (skew, kurtosis), (skew_before, kurtosis_before) = moments(after), moments(before)
    return Outcome(
        exact(
            median_absolute_skew=float(skew.abs().median()),
            median_absolute_excess_kurtosis=float(kurtosis.abs().median()),
            largest_change_of_skew_by_the_norm=largest(skew - skew_before),
            largest_change_of_kurtosis_by_the_norm=largest(kurtosis - kurtosis_before),
        )
    )


FINDING = Finding(
    id="S22",
    cite="The founding text (the blog post that normbench started from)",
    claim="Normalised activations stay Gaussian.",
    published=(Published("Gaussian", "the founding text"),),
    experiment=Computation(measure, seconds=1.0),
    criterion=(
        Bound("median absolute skew", high=0.5),
        Bound("median absolute excess kurtosis", high=0.5),
    ),
    tier=0,
    differs=(
        "The first convolution of the digit CNN on 500 digits, He initialisation, float64; 0 and 0 would be Gaussian."
    ),
    note=(
        "Batch norm is affine for each channel: it moves and scales a distribution and cannot change its "
        "shape. Ioffe & Szegedy say only that pre-activations are more Gaussian, which is not guaranteed."
    ),
    earlier=(
        (
            "First measured on a batch of one class by mistake, since the file is sorted: skew 1.64, kurtosis "
            "2.58: contradicted."
        ),
    ),
)
