"""Norm before or after the activation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from normbench.findings.evidence import contrast
from normbench.findings.finding import Bound, Finding, Published, Quantity, StudyExperiment

if TYPE_CHECKING:
    from normbench.report import Evidence

PART = "test accuracy, after the activation less before"


def measure(evidence: Evidence) -> dict[str, Quantity]:
    return {PART: contrast(evidence, "levels", "after")}


FINDING = Finding(
    id="S35",
    cite="The founding text (the blog post that normbench started from)",
    claim="Batch norm usually stands before the activation, and nothing is lost by that.",
    published=(Published("usually before the activation", "the founding text"),),
    experiment=StudyExperiment("order", measure),
    criterion=(Bound(PART, -0.002, 0.002),),
    tier=2,
    differs=(
        "That it is usual is a convention; what is asked is whether the place matters. The digit CNN, 20,000 images, "
        "eight seeds; equal within 0.2 points is asked for."
    ),
)
