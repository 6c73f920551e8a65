"""Deep residual networks without a norm."""

from __future__ import annotations

from typing import TYPE_CHECKING

from normbench.findings.evidence import contrast
from normbench.findings.finding import Bound, Finding, Published, Quantity, StudyExperiment

if TYPE_CHECKING:
    from normbench.report import Evidence

TRAINED = 0.5  # test accuracy from which a network counts as trained


def measure(evidence: Evidence) -> dict[str, Quantity]:
    runs = evidence.runs[evidence.runs[evidence.columns["arm"]] == "none"]
    best = runs["test_accuracy"].astype(float).fillna(0.0).groupby(runs["seed"]).max()
    return {
        "SkipInit less batch norm": contrast(evidence, "levels", "skip_init"),
        "seeds of five that no rate trains without either": Quantity.exact(int((best < TRAINED).sum())),
    }


FINDING = Finding(
    id="C8",
    cite="De & Smith 2020 (arXiv 2002.10444)",
    claim=(
        "A number on each residual branch that starts at 0 (SkipInit) trains deep residual networks without a norm as "
        "well as batch norm does; without either they cannot be trained."
    ),
    published=(
        Published("networks of 1,000 layers are trained with SkipInit; without it or a norm they fail", "text"),
    ),
    experiment=StudyExperiment("skip_init", measure),
    criterion=(
        Bound("SkipInit less batch norm", -0.02, 0.02),
        Bound("seeds of five that no rate trains without either", low=3.5),
    ),
    tier=1,
    differs=(
        "A residual perceptron of 30 blocks of two layers, width 128, 200 steps of 64 MNIST images by SGD with "
        "momentum 0.9, best of three rates on the validation images, five seeds. A seed fails where it diverges or "
        "stays below 50 % at every rate."
    ),
)
