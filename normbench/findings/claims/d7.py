"""Dynamic tanh where batch norm is at home."""

from __future__ import annotations

from typing import TYPE_CHECKING

from normbench.findings.evidence import contrast
from normbench.findings.finding import Bound, Finding, Published, Quantity, StudyExperiment

if TYPE_CHECKING:
    from normbench.report import Evidence


def measure(evidence: Evidence) -> dict[str, Quantity]:
    return {
        f"batch norm less dynamic tanh, {label}": contrast(evidence, "levels", "batch", {"model": model})
        for label, model in (("digit CNN", "digit_cnn"), ("perceptron", "mlp"))
    }


FINDING = Finding(
    id="D7",
    cite="Zhu et al. 2025 (arXiv 2503.10622), limitations",
    claim="Dynamic tanh cannot simply take the place of batch norm in classic convolutional networks.",
    published=(
        Published(
            "ImageNet top-1, batch norm to dynamic tanh: ResNet-50 76.2 to 68.9, VGG19 72.7 to 71.0", "text", False
        ),
    ),
    experiment=StudyExperiment("squash", measure),
    criterion=(
        Bound("batch norm less dynamic tanh, digit CNN", low=0.003),
        Bound("batch norm less dynamic tanh, perceptron", low=0.003),
    ),
    tier=2,
    differs=(
        "The digit CNN and a perceptron of three layers of 100 on 10,000 MNIST images, one learning rate (Adam at "
        "1e-3) for both norms, ten seeds."
    ),
)
