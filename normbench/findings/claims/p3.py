"""The third promised benefit: robustness to the initial weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from normbench.findings.benefits import NETWORKS, TEXT, means, spared
from normbench.findings.finding import Bound, Finding, Plot, Published, Quantity, StudyExperiment

if TYPE_CHECKING:
    import pandas as pd

    from normbench.report import Evidence

INITS = {"small": "standard deviation 0.01", "torch": "torch's default", "he": "He", "large": "standard deviation 0.3"}
ASKED = ("small", "large")


def name(network: str, init: str) -> str:
    return f"{network}, from He to {INITS[init]}: loss, none less batch"


def measure(evidence: Evidence) -> dict[str, Quantity]:
    return {
        name(network, init): spared(
            evidence,
            {"network": network, "init": "he"},
            {"network": network, "init": init},
        )
        for init in (*ASKED, "torch")
        for network in NETWORKS
    }


def detail(evidence: Evidence) -> pd.DataFrame:
    cells = {
        (network, norm, text): {"network": network, "init": init, "model.norm": norm}
        for network in NETWORKS
        for norm in ("batch", "none")
        for init, text in INITS.items()
    }
    return means(evidence, cells, ("network", "norm", "initialisation"))


FINDING = Finding(
    id="P3",
    cite=f"{TEXT}: the third of four benefits of batch norm; Ioffe & Szegedy 2015 (arXiv 1502.03167), section 3.3",
    claim="Batch norm makes training robust to the initial weights: a poor choice costs less than without a norm.",
    published=(
        Published("robust to initialisation", "the founding text"),
        Published("training resilient to the parameter scale", "Ioffe & Szegedy, section 3.3"),
    ),
    experiment=StudyExperiment("benefit_initialisation", measure, detail),
    criterion=tuple(Bound(name(network, init), low=0.05) for network in NETWORKS for init in ASKED),
    tier=1,
    differs=(
        "Three networks (the deep plain CNN has 20 convolutions of 16 channels), the same standard deviation in every "
        "layer against He initialisation; 3,200 of MNIST's digits, each arm at the better of two rates on the "
        "validation images, four seeds, 1,000 test images; five points of accuracy are asked for. A diverged run "
        "counts as guessing."
    ),
    plot=Plot(
        "initialisation",
        "test accuracy",
        "norm",
        facet="network",
        caption="Mean over four seeds, each arm at the better of two rates. The benefit is a flatter line.",
    ),
)
