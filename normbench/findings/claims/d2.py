"""Norms that do not centre."""

from __future__ import annotations

from typing import TYPE_CHECKING

from normbench.findings.evidence import contrast
from normbench.findings.finding import Bound, Finding, Published, Quantity, StudyExperiment

if TYPE_CHECKING:
    from normbench.report import Evidence


def measure(evidence: Evidence) -> dict[str, Quantity]:
    return {"RMS norm less layer norm": contrast(evidence, "levels", "rms")}


FINDING = Finding(
    id="D2",
    cite="Zhang & Sennrich 2019 (arXiv 1910.07467), abstract",
    claim="Subtracting the mean is dispensable: RMS norm is as good as layer norm.",
    published=(Published("comparable quality, 7 to 64 % less running time", "abstract"),),
    experiment=StudyExperiment("centring", measure),
    criterion=(Bound("RMS norm less layer norm", -0.003, 0.003),),
    tier=2,
    differs=(
        "A perceptron of three layers of 100 on MNIST, two epochs, one learning rate for both, 20 seeds; as good is "
        "read as within 0.3 points. Running times are not part of the criterion, since machines are shared."
    ),
)
