"""Smoothness along the step."""

from __future__ import annotations

import math

from normbench.findings.finding import Bound, Computation, Finding, Outcome, Plot, Published
from normbench.findings.measure import medians, network, over_seeds, trained, whole_digits

STEPS, EVERY, BATCH, RATE, SEEDS = 600, 25, 128, 0.1, range(5)
PARTS = {"loss_range": "range of the loss", "gradient_mean": "change of the gradient", "beta": "beta"}


def name(quantity: str) -> str:
    return f"log of the {PARTS[quantity]} along the step, batch over none"


def measure() -> Outcome:
    import copy

    import numpy as np
    import torch

    from normbench.probes.contract import Moment
    from normbench.probes.smoothness import Smoothness
    from normbench.seeds import generator

    images, labels = whole_digits("train")
    probe = Smoothness()
    rows = []

    def looks(norm: str, seed: int) -> dict[str, np.ndarray]:
        """Logarithms of the measured quantities, a number a look."""
        random = generator(seed, "C3", "batches")
        net = network("mlp", norm, {"hidden": [100, 100, 100]}, seed)
        found: dict[str, list[float]] = {quantity: [] for quantity in PARTS}
        for step in range(EVERY, STEPS + 1, EVERY):
            trained(net, images, labels, torch.randint(len(images), (EVERY, BATCH), generator=random), RATE)
            batch = torch.randint(len(images), (BATCH,), generator=random)
            scalars = probe.measure(
                Moment(copy.deepcopy(net).train(), images[batch], labels[batch], step, STEPS, lr=RATE)
            ).scalars
            for quantity, logs in found.items():
                logs.append(math.log(scalars[quantity]))
            for end, key in (("greatest", "loss_high"), ("least", "loss_low")):
                rows.append({"loss": scalars[key], "line": f"{norm}, {end}", "step": step})
        return {quantity: np.array(logs) for quantity, logs in found.items()}

    ratios: dict[str, list[float]] = {name(quantity): [] for quantity in PARTS}
    for seed in SEEDS:
        none, batch = (looks(norm, seed) for norm in ("none", "batch"))
        for quantity in PARTS:
            ratios[name(quantity)].append(float((batch[quantity] - none[quantity]).mean()))
    return Outcome(over_seeds(ratios), medians(rows, "line", "step", "loss"))


FINDING = Finding(
    id="C3",
    cite="Santurkar et al. 2018 (arXiv 1805.11604), section 3.1, figure 4",
    claim="Batch norm makes the loss smoother: along a step it varies less, and so does its gradient.",
    published=(Published("narrower bands with batch norm; curves only", "figure 4"),),
    experiment=Computation(measure, seconds=50.0),
    criterion=(Bound(name("loss_range"), high=0.0), Bound(name("gradient_mean"), high=0.0)),
    tier=1,
    differs=(
        "A perceptron of three layers of 100 on MNIST instead of VGG on CIFAR-10; 600 steps of SGD at 0.1 on 128 "
        "images, looked at every 25 steps along 0.5, 1, 2 and 4 steps, on images of their own, five seeds. Logarithms "
        "of the ratios, mean over the looks; beta, the gradient's change over the distance, decides nothing."
    ),
    plot=Plot(
        "step",
        "loss",
        "line",
        log="y",
        caption="Least and greatest loss (nats) along the step, median over seeds: the bands of figure 4a.",
    ),
)
