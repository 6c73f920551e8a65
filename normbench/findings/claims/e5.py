"""A convolutional network without a norm on Fashion-MNIST, as a benchmark's baselines have it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from normbench.findings.evidence import mean, values
from normbench.findings.finding import Bound, Finding, Plot, Published, Quantity, StudyExperiment

if TYPE_CHECKING:
    import pandas as pd

    from normbench.report import Evidence

PUBLISHED = {1: 0.8545, 2: 0.8754, 5: 0.8956}  # mean test accuracy after epochs
X, Y, SERIES = "epochs", "test error (%)", "networks"


def name(epochs: int) -> str:
    return f"after epoch {epochs}: test accuracy, less the published {PUBLISHED[epochs]:.4f}"


def measure(evidence: Evidence) -> dict[str, Quantity]:
    return {name(epochs): mean(evidence, {"budget.epochs": epochs}).less(known) for epochs, known in PUBLISHED.items()}


def detail(evidence: Evidence) -> pd.DataFrame:
    import pandas as pd

    rows = [(epochs, 100 * (1 - known), "published, mean of ten seeds") for epochs, known in PUBLISHED.items()]
    for epochs in PUBLISHED:
        errors = [100 * (1 - accuracy) for accuracy in values(evidence, {"budget.epochs": epochs})]
        known = {"lowest": min(errors), "mean": sum(errors) / len(errors), "highest": max(errors)}
        rows += [(epochs, error, f"measured, {word}") for word, error in known.items()]
    return pd.DataFrame(rows, columns=[X, Y, SERIES])


FINDING = Finding(
    id="E5",
    cite="Schneider, Balles & Hennig 2019, DeepOBS (GitHub), baselines of fmnist_2c2d by SGD",
    claim="On Fashion-MNIST a CNN without a norm reaches 85.45, 87.54 and 89.56 % after 1, 2 and 5 epochs of SGD.",
    published=(
        Published(
            "rate .1585, ten seeds, test accuracy after 1, 2, 5, 10 epochs (sd): .8545 (.0118), .8754 (.0091), .8956 "
            "(.0068), .9024 (.0074)",
            "baselines of the benchmark",
        ),
    ),
    experiment=StudyExperiment("baseline_cnn", measure, detail),
    criterion=tuple(Bound(name(epochs), -0.005, 0.005) for epochs in PUBLISHED),
    tier=2,
    differs=(
        "The published setting up to 5 epochs, five seeds instead of ten, a run for each number of epochs. There are "
        "no arms here whose difference cancels what both share, so the accuracy itself has to be met, within 0.5 "
        "points of the published mean; that mean has a standard error of 0.4, 0.3 and 0.2 points itself, which is not "
        "counted, and with the published spread five seeds decide little but a clear miss. Images are shuffled among "
        "all 60,000 instead of within 10,000, and the last 96 of an epoch, less than a batch, are left out."
    ),
    plot=Plot(
        X,
        Y,
        SERIES,
        log="x",
        caption="Mean, lowest and highest of five seeds; a diverged run counts as 100 %. More epochs are trained anew.",
    ),
)
