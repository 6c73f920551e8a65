"""Running averages against recomputed statistics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from normbench.findings.evidence import values
from normbench.findings.finding import Bound, Finding, Published, Quantity, StudyExperiment

if TYPE_CHECKING:
    from normbench.report import Evidence


def measure(evidence: Evidence) -> dict[str, Quantity]:
    def gain(steps: int) -> Quantity:
        cell = {"model.norm_options.momentum": 0.1, "budget.steps": steps}
        both = zip(values(evidence, cell, "test_accuracy_precise"), values(evidence, cell), strict=True)
        return Quantity.over_seeds([precise - running for precise, running in both])

    return {f"recomputed less running after {steps} steps": gain(steps) for steps in (5, 20, 200)}


FINDING = Finding(
    id="B8",
    cite="Wu & Johnson 2021 (arXiv 2105.07576), section 3",
    claim=(
        "Running averages lag behind the network: recomputed statistics are better early in training, and "
        "equal at its end."
    ),
    published=(
        Published(
            (
                "running averages are unstable early and at large batches; 1,000 to 10,000 images suffice; equal once "
                "converged"
            ),
            "section 3",
        ),
    ),
    experiment=StudyExperiment("precise", measure),
    criterion=(
        Bound("recomputed less running after 5 steps", low=0.0),
        Bound("recomputed less running after 20 steps", low=0.0),
        Bound("recomputed less running after 200 steps", -0.003, 0.003),
    ),
    tier=1,
    differs=(
        "A multilayer perceptron 3 x 100 on MNIST, batch 512, momentum 0.1 (0.01 is trained beside it), "
        "statistics of 10,000 images."
    ),
)
