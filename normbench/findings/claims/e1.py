"""A multilayer perceptron on Fashion-MNIST."""

from __future__ import annotations

from typing import TYPE_CHECKING

from normbench.findings.evidence import contrast
from normbench.findings.finding import Bound, Finding, Published, Quantity, StudyExperiment

if TYPE_CHECKING:
    from normbench.report import Evidence


def measure(evidence: Evidence) -> dict[str, Quantity]:
    def less_published(treatment: str, published: float) -> Quantity:
        found = contrast(evidence, "levels", treatment, sign=-1)
        return Quantity(found.value - published, found.low - published, found.high - published, found.n)

    return {
        "batch less layer, less the published 0.0040": less_published("layer", 0.0040),
        "batch less none, less the published 0.0050": less_published("none", 0.0050),
    }


FINDING = Finding(
    id="E1",
    cite="Cerebras/online-normalization (GitHub), table of Fashion-MNIST",
    claim="On Fashion-MNIST batch norm is better than layer norm by 0.40 points and than none by 0.50.",
    published=(Published("400 runs an arm, test % (sd): BN 88.6 (.58), LN 88.2 (.60), none 88.1 (.52)", "repository"),),
    experiment=StudyExperiment("fashion_mlp", measure),
    criterion=(
        Bound("batch less layer, less the published 0.0040", -0.003, 0.003),
        Bound("batch less none, less the published 0.0050", -0.003, 0.003),
    ),
    tier=2,
    differs="The published setting, five seeds instead of 400; paired by seed. Met within 0.3 points is asked for.",
)
