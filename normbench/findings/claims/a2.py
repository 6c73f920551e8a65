"""Inputs of sigmoid units over training."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from normbench.findings.finding import Bound, Computation, Finding, Outcome, Plot, Published
from normbench.findings.measure import network, over_seeds, trained, whole_digits

if TYPE_CHECKING:
    import numpy as np

STEPS, EVERY, BATCH, RATE, SEEDS = 5000, 250, 60, 1.0, range(5)
RATIO = "log of the drift, batch over none"


def measure() -> Outcome:
    import copy

    import pandas as pd
    import torch

    from normbench.probes.activations import BAND, Activations
    from normbench.probes.contract import Moment
    from normbench.seeds import generator

    images, labels = whole_digits("train")
    probe = Activations(units=100)
    rows: list[dict[str, Any]] = []

    def drift(norm: str, seed: int) -> float:
        """How far the percentiles of the last hidden layer's units move between two looks, over their spread."""
        random = generator(seed, "A2", "batches")
        options = {"hidden": [100, 100, 100], "activation": "sigmoid"}
        net = network("mlp", norm, options, seed, init="normal", std=0.05)
        layer = [name for name, module in net.named_modules() if isinstance(module, torch.nn.Sigmoid)][-1]
        before: dict[str, np.ndarray[Any, Any]] = {}
        moved = []
        for step in range(0, STEPS + 1, EVERY):
            if step:
                trained(net, images, labels, torch.randint(len(images), (EVERY, BATCH), generator=random), RATE)
            look = Moment(copy.deepcopy(net).train(), images[:256], labels[:256], step, STEPS, previous=before)
            found = probe.measure(look)
            before = dict(found.arrays)
            moved += [found.scalars[f"{layer}/drift"]] if step else []
            if not seed:
                rows.extend(
                    {"norm": norm, "percentile": f"{p} %", "step": step, "input": float(before[f"{layer}/p{p}"][0])}
                    for p in reversed(BAND)
                )
        return sum(moved) / len(moved)

    ratios = [math.log(drift("batch", seed) / drift("none", seed)) for seed in SEEDS]
    detail = pd.DataFrame(rows, columns=["norm", "percentile", "step", "input"])
    return Outcome(over_seeds({RATIO: ratios}), detail)


FINDING = Finding(
    id="A2",
    cite="Ioffe & Szegedy 2015 (arXiv 1502.03167), section 4.1, figure 1b and c",
    claim="With batch norm the distribution of what goes into a sigmoid unit is more stable over training.",
    published=(Published("curves of one typical unit, without numbers", "figure 1b and c"),),
    experiment=Computation(measure, seconds=200.0),
    criterion=(Bound(RATIO, high=round(math.log(0.5), 3)),),
    tier=1,
    differs=(
        "The network of A1, 5,000 steps of 60 images at rate 1 without momentum, five seeds. The 15th, 50th and 85th "
        "percentile of every unit of the last hidden layer, over 256 images, at every 250 steps; drift: their mean "
        "change since the look before, over the distance from the 15th to the 85th now; median over units, mean over "
        "looks. Half the drift is asked for."
    ),
    plot=Plot(
        "step",
        "input",
        "percentile",
        facet="norm",
        caption="The first unit of the last hidden layer, first seed, in the form of figure 1b and c.",
    ),
)
