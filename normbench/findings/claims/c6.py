"""Rank collapse."""

from __future__ import annotations

from normbench.findings.finding import Bound, Computation, Finding, Outcome, Plot, Published
from normbench.findings.measure import SEEDS, digits, medians, network, over_seeds

DEPTH, WIDTH, BATCH = 40, 128, 128


def measure() -> Outcome:
    import torch

    x, _ = digits(BATCH)
    last: dict[str, list[float]] = {"stable rank at depth 40, batch norm": [], "stable rank at depth 40, none": []}
    rows = []
    for name, label in (("batch", "batch norm"), ("none", "none")):
        for seed in SEEDS:
            net = network("mlp", name, {"hidden": [WIDTH] * DEPTH}, seed).double()
            ranks: list[float] = []
            y = x.flatten(1).double()  # as in C4, so that machines agree
            with torch.no_grad():
                for module in net.children():
                    if not isinstance(module, torch.nn.Sequential):
                        continue
                    for key, part in module.named_children():
                        y = part(y)
                        if key == "norm":
                            values = torch.linalg.svdvals(y)
                            ranks.append(float((values**2).sum() / values[0] ** 2))
            last[f"stable rank at depth 40, {label}"].append(ranks[DEPTH - 1])
            rows += [{"layer": k, "stable rank": r, "network": label} for k, r in enumerate(ranks, 1)]
    detail = medians(rows, "network", "layer", "stable rank")
    return Outcome(over_seeds(last), detail)


FINDING = Finding(
    id="C6",
    cite="Daneshmand et al. 2020 (arXiv 2003.01652), abstract",
    claim=(
        "Batch norm keeps the rank of the hidden representation up in deep random networks, where without it "
        "all images end up alike."
    ),
    published=(Published("rank of the order of sqrt(width), against rank one without", "abstract"),),
    experiment=Computation(measure, seconds=10.0),
    criterion=(
        Bound("stable rank at depth 40, batch norm", low=4),
        Bound("stable rank at depth 40, none", high=1.1),
    ),
    tier=0,
    differs=(
        "40 hidden layers of 128, ReLU, He initialisation, 128 digits; the stable rank (sum of squared "
        "singular values over the largest squared) of images x units where the norm leaves them, before the "
        "activation, which is where the paper's recurrence has its representation. Ten seeds."
    ),
    earlier=(
        "First measured on a batch of one class by mistake, since the file is sorted: 5.56 and 1.02: reproduced.",
    ),
    plot=Plot(
        "layer",
        "stable rank",
        "network",
        log="y",
        caption="Median over ten seeds; 1 means that all images are alike but for their length.",
    ),
)
