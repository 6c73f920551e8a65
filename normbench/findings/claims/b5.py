"""Layer norm at batch 4."""

from __future__ import annotations

from typing import TYPE_CHECKING

from normbench.findings.evidence import contrast
from normbench.findings.finding import Bound, Finding, Published, Quantity, StudyExperiment

if TYPE_CHECKING:
    from normbench.report import Evidence


def measure(evidence: Evidence) -> dict[str, Quantity]:
    return {
        "rise of error from batch 128 to 4, batch less layer": contrast(evidence, "loss", "batch", sign=-1),
    }


FINDING = Finding(
    id="B5",
    cite="Ba, Kiros & Hinton 2016 (arXiv 1607.06450), section 6.6, figure 6",
    claim="On permutation-invariant MNIST layer norm is robust to the batch size where batch norm is not.",
    published=(Published("784-1000-1000-10, batches of 128 and 4; curves only", "section 6.6, figure 6"),),
    experiment=StudyExperiment("layer_norm", measure),
    criterion=(Bound("rise of error from batch 128 to 4, batch less layer", low=0.01),),
    tier=2,
    differs=(
        "Width 256 instead of 1,000, 20,000 images instead of 60 epochs, Adam at 1e-3 (not stated there). "
        "That layer norm also converges faster is not tested here."
    ),
)
