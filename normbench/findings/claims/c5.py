"""Deep plain networks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from normbench.findings.evidence import contrast, mean
from normbench.findings.finding import Bound, Finding, Published, Quantity, StudyExperiment

if TYPE_CHECKING:
    from normbench.report import Evidence


def measure(evidence: Evidence) -> dict[str, Quantity]:
    return {
        "test accuracy of batch norm at depth 60": mean(evidence, {"model.norm": "batch", "depth": 60}),
        "batch less none at depth 10": contrast(evidence, "levels", "batch", {"depth": 10}),
        "batch less none at depth 30": contrast(evidence, "levels", "batch", {"depth": 30}),
    }


FINDING = Finding(
    id="C5",
    cite="Yang et al. 2019 (arXiv 1902.08129)",
    claim="Batch norm helps a plain network of ten layers, and makes one of sixty untrainable.",
    published=(
        Published(
            "networks deeper than about 50 layers with batch norm cannot be trained without residual connections",
            "qualitative",
        ),
    ),
    experiment=StudyExperiment("deep", measure),
    criterion=(
        Bound("test accuracy of batch norm at depth 60", high=0.5),
        Bound("batch less none at depth 10", low=0.0),
        Bound("batch less none at depth 30", high=0.0),
    ),
    tier=1,
    differs=(
        "Width 128, 200 steps of 64 by SGD with momentum 0.9, best of three rates on the validation images, He "
        "initialisation, five seeds. That residual connections cure it is not tested here."
    ),
)
