"""Sigmoid networks on MNIST."""

from __future__ import annotations

from typing import TYPE_CHECKING

from normbench.findings.evidence import contrast
from normbench.findings.finding import Bound, Finding, Published, Quantity, StudyExperiment

if TYPE_CHECKING:
    from normbench.report import Evidence


def measure(evidence: Evidence) -> dict[str, Quantity]:
    return {
        f"batch less none, rate {rate:g}": contrast(evidence, "levels", "batch", {"optimizer.lr": rate})
        for rate in (0.01, 0.1, 1.0)
    }


FINDING = Finding(
    id="A1",
    cite="Ioffe & Szegedy 2015 (arXiv 1502.03167), section 4.1, figure 1a",
    claim="A sigmoid network with batch norm reaches a higher test accuracy on MNIST.",
    published=(
        Published("a curve only, batch norm above; 50,000 steps", "figure 1a"),
        Published(
            "test accuracy without / with, 50,000 steps: rate 0.01 .809 / .973, rate 1 .977 / .980",
            "Udacity, Batch_Normalization_Lesson, the same network",
            curves={"none": {0.01: 19.1, 1: 2.3}, "batch": {0.01: 2.7, 1: 2.0}},
            unit="test error (%)",
            setting="50,000 steps without momentum",
        ),
    ),
    experiment=StudyExperiment("sigmoid", measure),
    criterion=(
        Bound("batch less none, rate 0.01", low=0.0),
        Bound("batch less none, rate 0.1", low=0.0),
        Bound("batch less none, rate 1", low=0.0),
    ),
    tier=1,
    differs=(
        "5,000 steps instead of 50,000; real-valued instead of binary pixels; rates and initial spread of the course "
        "repository, but SGD with momentum 0.9 where that has none, so that steps are up to ten times as large: that "
        "the network fails at rate 1 without a norm, which it does not there, is of rate and momentum together. That "
        "it also takes fewer steps to 90 % is not tested here."
    ),
)
