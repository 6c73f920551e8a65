"""Larger learning rates, on the digit CNN."""

from __future__ import annotations

from normbench.findings.evidence import largest_rates
from normbench.findings.finding import Bound, Finding, Published, StudyExperiment

FINDING = Finding(
    id="S28",
    cite="The founding text (the blog post that normbench started from)",
    claim="Batch norm lets the digit CNN train at higher learning rates.",
    published=(Published("higher learning rates", "the founding text"),),
    experiment=StudyExperiment("rates_cnn", largest_rates),
    criterion=(Bound("largest rate, batch over none", low=2.99),),
    tier=1,
    differs=(
        "The text's network exactly: norm on the convolutions, not on the hidden linear layer; SGD without momentum, "
        "300 steps of 64, seven rates in half decades, the largest at which all of five seeds reach 90 % test "
        "accuracy; at least three times as large is asked for."
    ),
)
