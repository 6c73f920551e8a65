"""Dropout."""

from __future__ import annotations

from typing import TYPE_CHECKING

from normbench.findings.evidence import contrast
from normbench.findings.finding import Bound, Finding, Published, Quantity, StudyExperiment

if TYPE_CHECKING:
    from normbench.report import Evidence

PART = "test accuracy, dropout less none"


def measure(evidence: Evidence) -> dict[str, Quantity]:
    return {PART: contrast(evidence, "levels", 0.5)}


FINDING = Finding(
    id="S36",
    cite="The founding text (the blog post that normbench started from)",
    claim="Dropout keeps a network whose parameters are in its linear layers from overfitting.",
    published=(Published("dropout 0.5 before the last layer, against overfitting", "the founding text"),),
    experiment=StudyExperiment("dropout", measure),
    criterion=(Bound(PART, low=0.0),),
    tier=2,
    differs=(
        "The digit CNN without a norm on 1,000 images, twenty times each, eight seeds, each arm at the better of two "
        "rates. Better on the test images is asked for; by how much is not."
    ),
)
