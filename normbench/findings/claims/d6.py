"""Dynamic tanh in a transformer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from normbench.findings.evidence import contrast
from normbench.findings.finding import Bound, Finding, Published, Quantity, StudyExperiment

if TYPE_CHECKING:
    from normbench.report import Evidence


def measure(evidence: Evidence) -> dict[str, Quantity]:
    return {"dynamic tanh less layer norm": contrast(evidence, "levels", "dyt")}


FINDING = Finding(
    id="D6",
    cite="Zhu et al. 2025 (arXiv 2503.10622), table 1",
    claim="In a vision transformer dynamic tanh is as good as layer norm.",
    published=(
        Published(
            "ImageNet top-1, layer norm to dynamic tanh: ViT-B 82.3 to 82.5, ViT-L 83.1 to 83.6",
            "README of the official repository",
        ),
    ),
    experiment=StudyExperiment("transformer", measure),
    criterion=(Bound("dynamic tanh less layer norm", -0.003, 0.003),),
    tier=2,
    differs=(
        "A transformer of two blocks of width 64 on MNIST, three epochs, AdamW at 1e-3 for both, ten seeds; as good is "
        "read as within 0.3 points."
    ),
)
