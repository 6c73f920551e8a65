"""The second promised benefit: larger learning rates."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from normbench.findings.benefits import NETWORKS, TEXT, accuracies
from normbench.findings.evidence import largest_rate
from normbench.findings.finding import Bound, Finding, Plot, Published, Quantity, StudyExperiment

if TYPE_CHECKING:
    import pandas as pd

    from normbench.report import Evidence

SIZES = (8, 32)
TRAINS = 0.5  # test accuracy that every seed has to reach
RATIO = 2.99


def name(network: str, size: int) -> str:
    return f"{network}, batch size {size}: largest rate, batch over none"


def ratio(batch: float, none: float, rates: list[float]) -> float:
    """How many times as large; where only one arm trains at all, the other counts as one step below the grid."""
    if math.isnan(batch) and math.isnan(none):
        return math.nan
    below = rates[0] * rates[0] / rates[1]
    batch, none = (below if math.isnan(rate) else rate for rate in (batch, none))
    return batch / none


def measure(evidence: Evidence) -> dict[str, Quantity]:
    rates = [level.label for level in evidence.study.axes["optimizer.lr"]]
    found, each = {}, {}
    for network in NETWORKS:
        for size in SIZES:
            cell = {"network": network, "data.batch_size": size}
            none, batch = (largest_rate(evidence, {**cell, "model.norm": n}, TRAINS) for n in ("none", "batch"))
            found[name(network, size)] = Quantity.exact(ratio(batch, none, rates))
            each[f"{network}, batch size {size}: largest rate, none"] = Quantity.exact(none)
            each[f"{network}, batch size {size}: largest rate, batch"] = Quantity.exact(batch)
    return found | each


def detail(evidence: Evidence) -> pd.DataFrame:
    import pandas as pd

    rows = []
    for network in NETWORKS:
        for size in SIZES:
            for norm in ("batch", "none"):
                for level in evidence.study.axes["optimizer.lr"]:
                    cell = {"network": network, "data.batch_size": size, "model.norm": norm}
                    worst = min(accuracies(evidence, {**cell, "optimizer.lr": level.label}))
                    rows.append((network, f"{norm}, batch size {size}", level.label, worst))
    return pd.DataFrame(rows, columns=["network", "arm", "learning rate", "test accuracy of the worst seed"])


FINDING = Finding(
    id="P2",
    cite=f"{TEXT}: the second of four benefits of batch norm; Ioffe & Szegedy 2015 (arXiv 1502.03167), section 3.3",
    claim="Batch norm allows learning rates that are several times as large.",
    published=(
        Published("higher learning rates", "the founding text"),
        Published("Inception at 5 and 30 times the rate", "Ioffe & Szegedy, section 4.2"),
    ),
    experiment=StudyExperiment("benefit_rates", measure, detail),
    criterion=tuple(Bound(name(network, size), low=RATIO) for network in NETWORKS for size in SIZES),
    tier=1,
    differs=(
        "Three networks (the deep plain CNN has 20 convolutions of 16 channels), He initialisation, SGD without "
        "momentum, 150 steps on MNIST's digits at six rates in half decades, 0.01 to 3.16. A rate trains if all of "
        "three seeds reach 50 % test accuracy; at least three times as large is asked for. An arm that trains at no "
        "rate counts as one step below the grid; one at its upper edge may reach further than is told."
    ),
    earlier=(
        "This page always said without momentum, but the first runs had 0.9, SGD's default here: contradicted, since "
        "on the digit CNN at batch size 32 both arms trained up to 0.0316. The other ratios were 3.16 (digit CNN, 8), "
        "10 (strided CNN, both) and 9.99 (deep plain CNN, 32); the deep plain CNN trained with neither at 8.",
    ),
    plot=Plot(
        "learning rate",
        "test accuracy of the worst seed",
        "arm",
        log="x",
        facet="network",
        caption="The worst of three seeds; a rate trains where it lies above 0.5. A diverged run counts as 0.1.",
    ),
)
