"""Residual branches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from normbench.findings.finding import Bound, Computation, Finding, Outcome, Plot, Published
from normbench.findings.measure import SEEDS, digits, medians, over_seeds
from normbench.norms import build_norm

if TYPE_CHECKING:
    from torch import Tensor

BLOCKS, WIDTH, BATCH = 64, 256, 128


def measure() -> Outcome:
    import numpy as np
    import pandas as pd
    import torch

    from normbench.seeds import generator

    x = digits(BATCH)[0].double()  # as in C4, so that machines agree
    found: dict[str, list[float]] = {"slope with batch norm": [], "slope without": []}
    rows = []

    def weight(seed: int, name: object, inputs: int, gain: float) -> Tensor:
        drawn = torch.randn(inputs, WIDTH, generator=generator(seed, "C7", name))
        return drawn.double() * (gain / inputs) ** 0.5

    for name, label in (("batch", "with batch norm"), ("none", "without")):
        for seed in SEEDS:
            y, ratios = x.flatten(1) @ weight(seed, "stem", 784, 1.0), []
            for block in range(BLOCKS):
                branch = y
                for part in ("one", "two"):
                    branch = torch.relu(build_norm(name, WIDTH).double()(branch)).detach()
                    branch = branch @ weight(seed, (block, part), WIDTH, 2.0)
                ratios.append(float(branch.var(0).mean() / y.var(0).mean()))
                y = y + branch
            blocks = np.arange(1, BLOCKS + 1)
            found[f"slope {label}"].append(float(np.polyfit(np.log(blocks), np.log(ratios), 1)[0]))
            rows += [
                {"block": k, "variance of branch / skip": r, "network": label}
                for k, r in zip(blocks, ratios, strict=True)
            ]
    detail = medians(rows, "network", "block", "variance of branch / skip")
    published = pd.DataFrame({"network": "published: 1 / block", "block": range(1, BLOCKS + 1)}).assign(
        **{"variance of branch / skip": lambda frame: 1 / frame["block"]}
    )
    return Outcome(over_seeds(found), pd.concat([detail, published], ignore_index=True))


FINDING = Finding(
    id="C7",
    cite="De & Smith 2020 (arXiv 2002.10444), abstract",
    claim=(
        "Batch norm shrinks a residual branch against its skip path: at block l the ratio of their variances is 1 / l."
    ),
    published=(Published("branches downscaled by a factor of the order of sqrt(depth)", "abstract"),),
    experiment=Computation(measure, seconds=10.0),
    criterion=(
        Bound("slope with batch norm", -1.1, -0.9),
        Bound("slope without", -0.1, 0.1),
    ),
    tier=0,
    differs=(
        "64 blocks x + W2 relu(n(W1 relu(n(x)))) of 256 units, He initialisation, 128 digits; slope of log "
        'ratio against log block, ten seeds. Without a norm "about 0" is read as within 0.1.'
    ),
    note="What the claim says of batch norm is met; open is the control without a norm.",
    earlier=("First measured on a batch of one class by mistake, since the file is sorted: -1.001 and 0.100: open.",),
    plot=Plot(
        "block",
        "variance of branch / skip",
        "network",
        log="xy",
        caption="Median over ten seeds; the dashed line is the published law.",
    ),
)
