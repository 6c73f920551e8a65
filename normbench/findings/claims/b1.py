"""Small batches."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from normbench.findings.evidence import contrast, mean
from normbench.findings.finding import Bound, Finding, Published, Quantity, StudyExperiment

if TYPE_CHECKING:
    from normbench.report import Evidence


def measure(evidence: Evidence) -> dict[str, Quantity]:
    errors = [1 - mean(evidence, {"model.norm": "batch", "data.batch_size": size}).value for size in (32, 8, 4, 2)]
    return {
        "error of batch norm, 2 less 32": contrast(evidence, "batch norm", 2, sign=-1),
        "error of group norm, 2 less 32": contrast(evidence, "group norm", 2, sign=-1),
        "least rise of batch norm's mean error": Quantity.exact(min(b - a for a, b in pairwise(errors))),
    }


FINDING = Finding(
    id="B1",
    cite="Wu & He 2018 (arXiv 1803.08494), table 2",
    claim="As the batch shrinks, the error with batch norm rises steeply, and with group norm hardly.",
    published=(
        Published(
            (
                "ResNet-50, ImageNet, validation error at 32, 16, 8, 4, 2 images: BN 23.6 23.7 24.8 27.3 34.7, GN "
                "24.1 24.2 24.0 24.2 24.1"
            ),
            "table 2",
            curves={
                "batch": {32: 23.6, 16: 23.7, 8: 24.8, 4: 27.3, 2: 34.7},
                "group": {32: 24.1, 16: 24.2, 8: 24.0, 4: 24.2, 2: 24.1},
            },
            unit="validation error (%)",
            setting="ResNet-50 on ImageNet, images a GPU",
        ),
    ),
    experiment=StudyExperiment("small_batches", measure),
    criterion=(
        Bound("error of batch norm, 2 less 32", low=0.05),
        Bound("error of group norm, 2 less 32", -0.01, 0.01),
        Bound("least rise of batch norm's mean error", low=0.0),
    ),
    tier=1,
    differs=(
        "A multilayer perceptron 784-128-128-10 on MNIST, 20,000 images, five seeds. At batch 2 "
        "one-dimensional batch norm gives +-1, the sign of the difference: the extreme of the effect."
    ),
)
