"""Mean shift."""

from __future__ import annotations

from typing import TYPE_CHECKING

from normbench.findings.finding import Bound, Computation, Finding, Outcome, Plot, Published
from normbench.findings.measure import SEEDS, digits, medians, over_seeds

if TYPE_CHECKING:
    from torch import Tensor

BLOCKS, CHANNELS, BATCH, ALPHA = 20, 16, 64, 0.2


def measure() -> Outcome:
    import math

    import numpy as np
    import torch
    from torch.nn import functional as F

    from normbench.seeds import generator

    x, _ = digits(BATCH)
    slopes: dict[str, list[float]] = {"plain": [], "standardised": []}
    rows = []

    def weight(seed: int, block: int, inputs: int, standardised: bool) -> Tensor:
        drawn = torch.randn(CHANNELS, inputs, 3, 3, generator=generator(seed, "C11", block))
        fan = inputs * 9
        if not standardised:
            return drawn * (2 / fan) ** 0.5
        flat = drawn.flatten(1)
        flat = (flat - flat.mean(1, keepdim=True)) / (flat.std(1, unbiased=False, keepdim=True) * fan**0.5)
        return (flat * math.sqrt(2 / (1 - 1 / math.pi))).view_as(drawn)

    for label, standardised in (("plain", False), ("standardised", True)):
        for seed in SEEDS:
            y = F.conv2d(x, weight(seed, -1, 1, standardised), padding=1)[:, :, ::2, ::2]
            y = y / y.std()
            means, variance = [], 1.0
            for block in range(BLOCKS):
                branch = F.conv2d(torch.relu(y / variance**0.5), weight(seed, block, CHANNELS, standardised), padding=1)
                y, variance = y + ALPHA * branch, variance + ALPHA**2
                means.append(float((y.mean((0, 2, 3)) ** 2).mean()))
            blocks = np.arange(1, BLOCKS + 1)
            slopes[label].append(float(np.polyfit(blocks, means, 1)[0]))
            rows += [
                {"block": k, "squared channel mean": m, "weights": label} for k, m in zip(blocks, means, strict=True)
            ]
    detail = medians(rows, "weights", "block", "squared channel mean")
    # A ratio of means, not of each seed's slopes: a slope near zero in one seed would make the ratio boundless.
    part = np.array(slopes["standardised"]) - 0.1 * np.array(slopes["plain"])
    found = {
        "growth of the squared mean a block, plain": slopes["plain"],
        "growth standardised less a tenth of plain": list(part),
        "growth of the squared mean a block, standardised": slopes["standardised"],
    }
    return Outcome(over_seeds(found), detail)


FINDING = Finding(
    id="C11",
    cite="Brock, De & Smith 2021 (arXiv 2101.08692); Brock et al. 2021 (arXiv 2102.06171); abstracts",
    claim=(
        "In residual ReLU networks without a norm the squared mean of channels grows with depth, and scaled "
        "weight standardisation removes that."
    ),
    published=(
        Published(
            "channel means grow with depth; scaled weight standardisation, gain sqrt(2 / (1 - 1 / pi)), prevents it",
            "abstracts",
        ),
    ),
    experiment=Computation(measure, seconds=5.0),
    criterion=(
        Bound("growth of the squared mean a block, plain", low=0.0),
        Bound("growth standardised less a tenth of plain", high=0.0),
    ),
    tier=0,
    differs=(
        "20 residual blocks of one 3 x 3 convolution, 16 channels, 14 x 14, alpha 0.2, branch inputs divided "
        'by their expected deviation as in the paper, 64 digits, ten seeds. "Removes" is read as below a '
        "tenth of the growth."
    ),
    earlier=("First measured on a batch of one class by mistake, since the file is sorted: reproduced.",),
    plot=Plot("block", "squared channel mean", "weights", caption="Median over ten seeds."),
)
