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
    note=(
        "No verdict: without a norm no rate brings all five seeds to 90 % in 300 steps, so that there is no ratio. "
        "Four of five get there at 0.1 and at 0.316; with batch norm all do from 0.01 to 3.16, the end of the grid."
    ),
    earlier=(
        "The study said that it had no momentum and had 0.9, SGD's default here: largest rates 0.1 and 0.316, "
        "reproduced; on another machine, where one seed reached 89.8 % at 0.1, 0.0316 and 0.316.",
    ),
)
