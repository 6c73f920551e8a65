"""Batch renormalization."""

from __future__ import annotations

from typing import TYPE_CHECKING

from normbench.findings.evidence import values
from normbench.findings.finding import Bound, Finding, Published, Quantity, StudyExperiment

if TYPE_CHECKING:
    from normbench.report import Evidence


def measure(evidence: Evidence) -> dict[str, Quantity]:
    def accuracies(norm: str, size: int) -> list[float]:
        return values(evidence, {"norm": norm, "data.batch_size": size})

    small, large = accuracies("batch", 4), accuracies("batch", 32)
    renorm, renorm_large = accuracies("batch_renorm", 4), accuracies("batch_renorm", 32)
    rows = list(zip(small, large, renorm, renorm_large, strict=True))
    return {
        "won back at batch 4, less half of the loss": Quantity.over_seeds(
            [(won - lost) - (whole - lost) / 2 for lost, whole, won, _ in rows]
        ),
        "batch renormalization less batch norm at batch 32": Quantity.over_seeds([r - b for _, b, _, r in rows]),
        "batch norm, batch 32 less 4": Quantity.over_seeds([whole - lost for lost, whole, _, _ in rows]),
    }


FINDING = Finding(
    id="B11",
    cite="Ioffe 2017 (arXiv 1702.03275), section 4",
    claim="Batch renormalization wins back what batch norm loses at small batches, and is as good at larger ones.",
    published=(
        Published("Inception-v3, microbatches of 4: batch norm 74.2, batch renormalization 76.5", "section 4", False),
    ),
    experiment=StudyExperiment("renorm", measure),
    criterion=(
        Bound("won back at batch 4, less half of the loss", low=0.0),
        Bound("batch renormalization less batch norm at batch 32", -0.005, 0.005),
    ),
    tier=2,
    differs=(
        "A perceptron 784-128-128-10 on 20,000 MNIST images, ten seeds; r and d are let go between a quarter and half "
        "of the steps. Batches that are not independent are not part of it."
    ),
)
