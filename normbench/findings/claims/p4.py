"""The fourth promised benefit: regularisation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from normbench.findings.benefits import NETWORKS, TEXT, accuracies, means
from normbench.findings.evidence import contrast, mean
from normbench.findings.finding import Bound, Finding, Plot, Published, Quantity, StudyExperiment

if TYPE_CHECKING:
    import pandas as pd

    from normbench.report import Evidence

ARMS = {"batch": "statistics of 32 images", "ghost": "statistics of 8 images"}


def name(network: str, arm: str) -> str:
    return f"{network}, {ARMS[arm]}: test accuracy, batch less none"


def measure(evidence: Evidence) -> dict[str, Quantity]:
    asked = {
        name(network, arm): contrast(evidence, "levels", arm, {"network": network})
        for network in NETWORKS
        for arm in ARMS
    }
    shown = {}
    for network in NETWORKS:
        ghost, batch = (accuracies(evidence, {"network": network, "norm": arm}) for arm in ("ghost", "batch"))
        gain = [small - whole for small, whole in zip(ghost, batch, strict=True)]
        shown[f"{network}: test accuracy, 8 less 32 images"] = Quantity.over_seeds(gain)
        for arm in ("none", *ARMS):
            loss = mean(evidence, {"network": network, "norm": arm}, "train_loss")
            shown[f"{network}: last training loss, {ARMS.get(arm, 'no norm')}"] = loss
    return asked | shown


def detail(evidence: Evidence) -> pd.DataFrame:
    cells = {
        (network, text): {"network": network, "norm": arm}
        for network in NETWORKS
        for arm, text in {"none": "no norm", **ARMS}.items()
    }
    found = means(evidence, cells, ("network", "arm"))
    return found.assign(**{"test error": 1 - found["test accuracy"]})


FINDING = Finding(
    id="P4",
    cite=f"{TEXT}: the fourth of four benefits of batch norm; Ioffe & Szegedy 2015 (arXiv 1502.03167), section 3.4",
    claim="Batch norm regularises: networks that fit few images generalise better with it.",
    published=(
        Published("the noise of the batches regularises", "the founding text"),
        Published("batch norm regularises the model", "Ioffe & Szegedy, section 3.4", verified=False),
    ),
    experiment=StudyExperiment("benefit_regularisation", measure, detail),
    criterion=tuple(Bound(name(network, arm), low=0.005) for network in NETWORKS for arm in ARMS),
    tier=2,
    differs=(
        "Three networks (the deep plain CNN has 20 convolutions of 16 channels), He initialisation, 500 of MNIST's "
        "images fifteen times each in batches of 32, all 10,000 test images, each arm at the better of two rates on "
        "1,000 validation images, five seeds; half a point of accuracy is asked for. Statistics of 8 images: the norm "
        "over parts of the same batch. The training losses tell whether the arms fit the images equally; where they do "
        "not, a gain is not of regularisation alone."
    ),
    plot=Plot("arm", "test error", "network", "y", "Mean over five seeds, from no norm to noisier statistics."),
)
