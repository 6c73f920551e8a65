"""Larger learning rates, on the digit CNN."""

from __future__ import annotations

from typing import TYPE_CHECKING

from normbench.findings.evidence import largest_rate
from normbench.findings.finding import Bound, Finding, Published, Quantity, StudyExperiment

if TYPE_CHECKING:
    from normbench.report import Evidence


def measure(evidence: Evidence) -> dict[str, Quantity]:
    rates = {norm: largest_rate(evidence, {"model.norm": norm}) for norm in ("none", "batch")}
    return {
        "largest rate, batch over none": Quantity.exact(rates["batch"] / rates["none"]),
        "largest rate, none": Quantity.exact(rates["none"]),
        "largest rate, batch": Quantity.exact(rates["batch"]),
    }


FINDING = Finding(
    id="S28",
    cite="The founding text (the blog post that normbench started from)",
    claim="Batch norm lets the digit CNN train at higher learning rates.",
    published=(Published("higher learning rates", "the founding text"),),
    experiment=StudyExperiment("rates_cnn", measure),
    criterion=(Bound("largest rate, batch over none", low=2.99),),
    tier=1,
    differs=(
        "The text's network exactly: norm on the convolutions, not on the hidden linear layer; SGD, 300 steps "
        "of 64, seven rates in half decades, the largest at which all of five seeds reach 90 % test accuracy; "
        "at least three times as large is asked for."
    ),
)
