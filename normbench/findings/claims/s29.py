"""Speed of learning."""

from __future__ import annotations

from typing import TYPE_CHECKING

from normbench.findings.evidence import contrast
from normbench.findings.finding import Bound, Finding, Published, Quantity, StudyExperiment

if TYPE_CHECKING:
    from normbench.report import Evidence

BUDGETS = (1000, 4000, 16000)


def name(images: int) -> str:
    return f"test accuracy after {images:,} images, batch less none"


def measure(evidence: Evidence) -> dict[str, Quantity]:
    return {name(images): contrast(evidence, "levels", "batch", {"budget.samples": images}) for images in BUDGETS}


FINDING = Finding(
    id="S29",
    cite="The founding text (the blog post that normbench started from); Ioffe & Szegedy 2015 (arXiv 1502.03167)",
    claim="Networks with batch norm converge faster.",
    published=(Published("faster convergence", "the founding text"),),
    experiment=StudyExperiment("speed", measure),
    criterion=tuple(Bound(name(images), low=0.005) for images in BUDGETS[:2]),
    tier=1,
    differs=(
        "The digit CNN of the text. Each length is a training of its own at the better of three rates; half a point "
        "is asked for after 1,000 and after 4,000 images; what is left after 16,000 decides nothing."
    ),
)
