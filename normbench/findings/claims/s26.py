"""The plain digit CNN."""

from __future__ import annotations

from typing import TYPE_CHECKING

from normbench.findings.evidence import mean
from normbench.findings.finding import Bound, Finding, Published, Quantity, StudyExperiment

if TYPE_CHECKING:
    from normbench.report import Evidence


def measure(evidence: Evidence) -> dict[str, Quantity]:
    return {"test accuracy": mean(evidence, {"model.name": "digit_cnn"})}


FINDING = Finding(
    id="S26",
    cite="The founding text (the blog post that normbench started from)",
    claim="The plain digit CNN reaches 99 % on MNIST with Adam at 1e-3.",
    published=(Published("99 %", "the founding text"),),
    experiment=StudyExperiment("founding", measure),
    criterion=(Bound("test accuracy", low=0.988),),
    tier=2,
    differs=(
        "Ten epochs of batch 64 (epochs and batch are not stated), five seeds, 55,000 training images. "
        "Rounded, 99 % is read as above 98.8."
    ),
)
