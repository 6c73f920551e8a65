"""The first promised benefit: deeper networks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from normbench.findings.benefits import TEXT, means, spared
from normbench.findings.finding import Bound, Finding, Plot, Published, Quantity, StudyExperiment

if TYPE_CHECKING:
    import pandas as pd

    from normbench.report import Evidence

CONVOLUTIONS = {"digit CNN": (2, 10), "plain CNN": (5, 20), "strided CNN": (5, 13)}
INITS = {"he": "He initialisation", "torch": "torch's default"}


def name(network: str, init: str) -> str:
    first, last = CONVOLUTIONS[network]
    return f"{network}, {INITS[init]}: loss from {first} to {last} convolutions, none less batch"


def measure(evidence: Evidence) -> dict[str, Quantity]:
    return {
        name(network, init): spared(
            evidence,
            {"network": network, "init": init},
            {"network": f"{network}, deeper", "init": init},
        )
        for network in CONVOLUTIONS
        for init in INITS
    }


def detail(evidence: Evidence) -> pd.DataFrame:
    cells = {
        (network, f"{norm}, {INITS[init]}", count): {"network": label, "init": init, "model.norm": norm}
        for network, counts in CONVOLUTIONS.items()
        for init in INITS
        for norm in ("batch", "none")
        for label, count in zip((network, f"{network}, deeper"), counts, strict=True)
    }
    return means(evidence, cells, ("network", "arm", "convolutions"))


FINDING = Finding(
    id="P1",
    cite=f"{TEXT}: the first of four benefits of batch norm",
    claim="Batch norm lets a network be made deeper: it loses less accuracy by it than without a norm.",
    published=(Published("deep networks are trained more easily", "the founding text"),),
    experiment=StudyExperiment("benefit_depth", measure, detail),
    criterion=tuple(Bound(name(network, init), low=0.05) for network in CONVOLUTIONS for init in INITS),
    tier=1,
    differs=(
        "The text has no experiment. Three networks, as they are and with eight (the digit CNN, the strided CNN) or "
        "fifteen more convolutions (a plain CNN of 16 channels), without residual connections; 3,200 of MNIST's "
        "digits, each arm at the better of two rates on the validation images, four seeds, 1,000 test images; five "
        "points of accuracy are asked for. A diverged run counts as guessing. Seen afterwards: with torch's default "
        "the plain CNN without a norm guesses at both depths, so it has no accuracy to lose, and batch norm could not "
        "win there; that part of the criterion says nothing of deeper networks."
    ),
    plot=Plot(
        "convolutions",
        "test accuracy",
        "arm",
        facet="network",
        caption="Mean over four seeds. The benefit is where a line with batch norm falls less than the one without.",
    ),
)
