"""A multilayer perceptron on Fashion-MNIST."""

from __future__ import annotations

from typing import TYPE_CHECKING

from normbench.findings.evidence import contrast
from normbench.findings.finding import Bound, Finding, Published, Quantity, StudyExperiment

if TYPE_CHECKING:
    from normbench.report import Evidence


def measure(evidence: Evidence) -> dict[str, Quantity]:
    batch_less = {norm: contrast(evidence, "levels", norm, sign=-1) for norm in ("layer", "none")}
    return {
        "batch less layer, less the published 0.0040": batch_less["layer"].less(0.0040),
        "batch less none, less the published 0.0050": batch_less["none"].less(0.0050),
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
