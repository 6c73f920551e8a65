"""Large batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from normbench.findings.evidence import contrast
from normbench.findings.finding import Bound, Finding, Published, Quantity, StudyExperiment

if TYPE_CHECKING:
    from normbench.report import Evidence


def measure(evidence: Evidence) -> dict[str, Quantity]:
    return {
        "batch 128 less batch 2048": contrast(evidence, "large", "small"),
        "ghost batches less whole ones, batch 2048 at the larger rate": contrast(evidence, "ghost", "large rate ghost"),
        "larger rate less the same rate, batch 2048": contrast(evidence, "large", "large rate"),
    }


FINDING = Finding(
    id="B7",
    cite="Hoffer, Hubara & Soudry 2017 (arXiv 1705.08741), table 1",
    claim="A large batch generalises worse, and ghost batches win a part of that back.",
    published=(
        Published(
            "MNIST, validation: small batch 98.27, large 97.05, larger rate 97.55, with ghost batches 97.60",
            "table 1",
            False,
        ),
    ),
    experiment=StudyExperiment("large_batches", measure),
    criterion=(
        Bound("batch 128 less batch 2048", low=0.003),
        Bound("ghost batches less whole ones, batch 2048 at the larger rate", low=0.0),
    ),
    tier=2,
    differs=(
        "Ten epochs instead of 50, with as many drops of the rate less one, no clipping of gradients, five seeds, test "
        "images. That training for longer closes the gap is not tested here."
    ),
)
