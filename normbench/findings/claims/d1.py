"""Instance norm and contrast."""

from __future__ import annotations

from typing import TYPE_CHECKING

from normbench.findings.evidence import values
from normbench.findings.finding import Bound, Finding, Published, Quantity, StudyExperiment

if TYPE_CHECKING:
    from normbench.report import Evidence

NAMES = {"instance": "instance norm", "none": "no norm", "batch": "batch norm"}
KINDS = ("contrast", "brightness")


def measure(evidence: Evidence) -> dict[str, Quantity]:
    def drop(norm: str, kind: str) -> Quantity:
        clean, changed = (
            values(evidence, {"model.norm": norm}, name) for name in ("test_accuracy", f"test_accuracy_{kind}")
        )
        return Quantity.over_seeds([a - b for a, b in zip(clean, changed, strict=True)])

    return {f"drop under {kind}, {words}": drop(norm, kind) for norm, words in NAMES.items() for kind in KINDS}


FINDING = Finding(
    id="D1",
    cite="Ulyanov et al. 2016 (arXiv 1607.08022)",
    claim="Instance norm takes the contrast of an image away, in training and in testing alike.",
    published=(Published("takes the contrast of each image away; the same in training and testing", "text"),),
    experiment=StudyExperiment("corrupted", measure),
    criterion=(
        *(Bound(f"drop under {kind}, instance norm", high=0.01) for kind in KINDS),
        *(Bound(f"drop under {kind}, {NAMES[norm]}", low=0.05) for norm in ("none", "batch") for kind in KINDS),
    ),
    tier=1,
    differs=(
        "Classification of digits instead of stylization: the digit CNN on 20,000 MNIST images with the norm after "
        "each convolution, tested with 0.3 of the contrast and with pixels 0.4 brighter (cut off at white), five "
        "seeds. Zeros around the map are not changed with the image."
    ),
)
