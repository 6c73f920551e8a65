"""Larger learning rates."""

from __future__ import annotations

from normbench.findings.evidence import largest_rates
from normbench.findings.finding import Bound, Finding, Published, StudyExperiment

FINDING = Finding(
    id="A3",
    cite="Ioffe & Szegedy 2015 (arXiv 1502.03167), sections 3.3 and 4.2; Bjorck et al. 2018 (arXiv 1806.02375)",
    claim="Batch norm permits learning rates that are several times as large.",
    published=(
        Published(
            "Inception at 5 and 30 times the rate with batch norm; at 5 times without it reached machine infinity",
            "section 4.2",
        ),
        Published("ReLU network, rate 1: .098 without, .985 with", "Udacity, Batch_Normalization_Lesson"),
    ),
    experiment=StudyExperiment("rates_mlp", largest_rates),
    criterion=(Bound("largest rate, batch over none", low=2.99),),
    tier=1,
    differs=(
        "Three hidden layers of 100, ReLU; SGD without momentum, 300 steps of 64, seven rates in half decades, the "
        "largest at which all of five seeds reach 90 % test accuracy; at least three times as large is asked for."
    ),
)
