"""Gradient explosion at the start."""

from __future__ import annotations

import math

from normbench.findings.finding import Bound, Computation, Finding, Outcome, Plot, Published
from normbench.findings.measure import SEEDS, digits, medians, network, over_seeds

DEPTH, WIDTH, BATCH, FIRST, LAST = 40, 512, 128, 5, 35


def measure() -> Outcome:
    import numpy as np
    import pandas as pd
    import torch
    from torch.nn import functional as F

    x, labels = digits(BATCH)
    x = x.double()  # over 40 layers the rounding of single precision differs between machines in the fifth digit
    cases = {
        "batch norm, ReLU": ("batch", "relu"),
        "none, ReLU": ("none", "relu"),
        "batch norm, tanh": ("batch", "tanh"),
    }
    factors: dict[str, list[float]] = {f"growth a layer, {case}": [] for case in cases}
    rows = []
    for case, (name, activation) in cases.items():
        for seed in SEEDS:
            net = network("mlp", name, {"hidden": [WIDTH] * DEPTH, "activation": activation}, seed).double()
            F.cross_entropy(net(x), labels).backward()
            hidden = [m.weight for m in net.modules() if isinstance(m, torch.nn.Linear)][:DEPTH]
            sizes = np.array([float(w.grad.norm()) for w in hidden if w.grad is not None])
            layers = np.arange(1, DEPTH + 1)
            used = slice(FIRST - 1, LAST)
            slope = np.polyfit(layers[used], np.log(sizes[used]), 1)[0]
            factors[f"growth a layer, {case}"].append(float(np.exp(-slope)))
            rows += [{"layer": k, "gradient norm": s, "network": case} for k, s in zip(layers, sizes, strict=True)]
    detail = medians(rows, "network", "layer", "gradient norm")
    last = detail[(detail["network"] == "batch norm, ReLU") & (detail["layer"] == LAST)]["gradient norm"].iloc[0]
    published = [
        {
            "network": "published: 1.211 a layer",
            "layer": k,
            "gradient norm": last * (math.pi / (math.pi - 1)) ** ((LAST - k) / 2),
        }
        for k in range(FIRST, LAST + 1)
    ]
    return Outcome(over_seeds(factors), pd.concat([detail, pd.DataFrame(published)], ignore_index=True))


FINDING = Finding(
    id="C4",
    cite="Yang et al. 2019 (arXiv 1902.08129), abstract; factor as derived by K. Luther",
    claim=(
        "In a deep plain ReLU network at its start, batch norm makes gradients grow by 1.21 with each layer "
        "towards the input; without a norm He's initialisation keeps them level."
    ),
    published=(
        Published(
            "sqrt(pi / (pi - 1)) = 1.211 a layer, ReLU",
            "derivation by K. Luther; abstract: gradients explode with depth",
        ),
    ),
    experiment=Computation(measure, seconds=20.0),
    criterion=(
        Bound("growth a layer, batch norm, ReLU", 1.17, 1.25),
        Bound("growth a layer, none, ReLU", 0.97, 1.03),
        Bound("growth a layer, batch norm, tanh", low=1.0),
    ),
    tier=0,
    differs=(
        "40 hidden layers of 512, 128 digits of mnist_5k, He initialisation, biases zero, the norm of each "
        "weight's gradient; slope of its logarithm over layers 5 to 35, ten seeds. The theory is of infinite "
        "width."
    ),
    note="What the claim says of batch norm is met; open is the control without a norm.",
    earlier=(
        (
            "First measured on a batch of one class by mistake, since the file is sorted: batch norm 1.206, none "
            "0.960 (outside its bounds), tanh 1.092: contradicted."
        ),
    ),
    plot=Plot(
        "layer",
        "gradient norm",
        "network",
        log="y",
        caption="Median over ten seeds; the dashed line grows by the published factor from layer 35 on.",
    ),
)
