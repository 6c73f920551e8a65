"""The spread of initial weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from normbench.findings.evidence import contrast, values
from normbench.findings.finding import Bound, Finding, Published, Quantity, StudyExperiment

if TYPE_CHECKING:
    from normbench.report import Evidence


def measure(evidence: Evidence) -> dict[str, Quantity]:
    spreads = (0.005, 0.05, 0.5, 5.0)

    def ranges(norm: str) -> list[float]:
        cells = [values(evidence, {"model.norm": norm, "model.init_std": spread}) for spread in spreads]
        return [max(seed) - min(seed) for seed in zip(*cells, strict=True)]

    gain = [none - batch for none, batch in zip(ranges("none"), ranges("batch"), strict=True)]
    return {
        "batch less none at standard deviation 5": contrast(evidence, "levels", "batch", {"model.init_std": 5.0}),
        "range over spreads, none less batch": Quantity.over_seeds(gain),
    }


FINDING = Finding(
    id="A4",
    cite="Ioffe & Szegedy 2015 (arXiv 1502.03167), section 3.3",
    claim="Batch norm makes training robust to the scale of the initial weights.",
    published=(
        Published("training resilient to the parameter scale", "section 3.3"),
        Published(
            (
                "test accuracy without / with at standard deviation 5, 50,000 steps, sigmoid: rate 0.01 .378 / .844, "
                "rate 1 .888 / .951"
            ),
            "Udacity, Batch_Normalization_Lesson",
        ),
    ),
    experiment=StudyExperiment("spread", measure),
    criterion=(
        Bound("batch less none at standard deviation 5", low=0.1),
        Bound("range over spreads, none less batch", low=0.0),
    ),
    tier=1,
    differs=(
        "Sigmoid network 3 x 100, SGD without momentum at rate 0.1, 2,000 steps; the course repository trained 50,000."
    ),
)
