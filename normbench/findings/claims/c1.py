"""Noise after batch norm."""

from __future__ import annotations

from typing import TYPE_CHECKING

from normbench.findings.evidence import contrast, values
from normbench.findings.finding import Bound, Finding, Published, Quantity, StudyExperiment

if TYPE_CHECKING:
    from normbench.report import Evidence


def measure(evidence: Evidence) -> dict[str, Quantity]:
    none, batch, noisy = (values(evidence, {"model.norm": norm}) for norm in ("none", "batch", "noisy_batch"))
    rows = list(zip(none, batch, noisy, strict=True))
    return {
        "noisy batch norm less none": contrast(evidence, "levels", "noisy_batch"),
        "what noise costs, less half of what batch norm gains": Quantity.over_seeds(
            [(clean - noised) - (clean - bare) / 2 for bare, clean, noised in rows]
        ),
    }


FINDING = Finding(
    id="C1",
    cite="Santurkar et al. 2018 (arXiv 1805.11604), section 2.2, figure 2",
    claim="Batch norm whose outputs are disturbed by noise at each step still trains better than no norm.",
    published=(Published("noisy batch norm close to batch norm, and better than none; curves only", "figure 2"),),
    experiment=StudyExperiment("noisy", measure),
    criterion=(
        Bound("noisy batch norm less none", low=0.0),
        Bound("what noise costs, less half of what batch norm gains", high=0.0),
    ),
    tier=1,
    differs=(
        "A perceptron of three layers of 100 on MNIST instead of VGG on CIFAR-10, 600 steps of SGD with momentum 0.9, "
        "ten seeds; the sizes of the noise are from memory. That the noise makes the distributions less stable is its "
        "construction, and is not measured."
    ),
)
