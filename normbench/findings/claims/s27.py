"""Batch norm with dropout."""

from __future__ import annotations

from typing import TYPE_CHECKING

from normbench.findings.evidence import contrast, mean
from normbench.findings.finding import Bound, Finding, Published, Quantity, StudyExperiment

if TYPE_CHECKING:
    from normbench.report import Evidence


def measure(evidence: Evidence) -> dict[str, Quantity]:
    return {
        "test accuracy": mean(evidence, {"model.name": "digit_cnn_bn"}),
        "difference from the plain network": contrast(evidence, "levels", "digit_cnn_bn"),
    }


FINDING = Finding(
    id="S27",
    cite="The founding text (the blog post that normbench started from)",
    claim="Batch norm with dropout lifts the digit CNN to 99.3 %, the best model.",
    published=(Published("99.3 %, one run", "the founding text"),),
    experiment=StudyExperiment("founding", measure),
    criterion=(
        Bound("test accuracy", low=0.992),
        Bound("difference from the plain network", low=0.0),
    ),
    tier=2,
    differs=(
        "Ten epochs of batch 64, five seeds. Batch norm, dropout and bias change at once, as in the text, so "
        "that a difference is of all three."
    ),
)
