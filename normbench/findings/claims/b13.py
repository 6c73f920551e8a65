"""Statistics of the test batch against corruption."""

from __future__ import annotations

from typing import TYPE_CHECKING

from normbench.findings.evidence import values
from normbench.findings.finding import Bound, Finding, Published, Quantity, StudyExperiment

if TYPE_CHECKING:
    from normbench.report import Evidence

KINDS = ("", "_brightness", "_noise", "_contrast")


def measure(evidence: Evidence) -> dict[str, Quantity]:
    def gain(kind: str) -> Quantity:
        own, running = (
            values(evidence, {"model.norm": norm}, f"test_accuracy{kind}") for norm in ("batch_own", "batch")
        )
        return Quantity.over_seeds([a - b for a, b in zip(own, running, strict=True)])

    return {f"gain by the test batch's statistics,{kind.replace('_', ' ') or ' clean'}": gain(kind) for kind in KINDS}


FINDING = Finding(
    id="B13",
    cite="Schneider et al. 2020 (arXiv 2006.16971); Nado et al. 2020 (arXiv 2006.10963); Benz et al. 2021",
    claim=(
        "Evaluating batch norm with the statistics of the test batch instead of running averages repairs much of what "
        "corrupted images cost."
    ),
    published=(
        Published("ResNet-50 on ImageNet-C, mean corruption error: 76.7 to 62.2", "Schneider et al. 2020"),
        Published("the same: 60.28", "Nado et al. 2020"),
        Published("the same, top-1 accuracy: 39.2 to 48.7", "Benz et al. 2021"),
    ),
    experiment=StudyExperiment("corrupted", measure),
    criterion=(
        Bound("gain by the test batch's statistics, brightness", low=0.1),
        Bound("gain by the test batch's statistics, noise", low=0.1),
        Bound("gain by the test batch's statistics, clean", -0.005, 0.005),
    ),
    tier=1,
    differs=(
        "The digit CNN on 20,000 MNIST images, tested with pixels 0.4 brighter, with noise of standard deviation 0.4, "
        "and with 0.3 of the contrast, which is measured beside it; batches of 100 test images that are all corrupted "
        "the same way, no weight on the running averages; five seeds."
    ),
)
