"""Internal covariate shift."""

from __future__ import annotations

from normbench.findings.finding import Bound, Computation, Finding, Outcome, Plot, Published
from normbench.findings.measure import medians, network, over_seeds, trained, whole_digits

STEPS, EVERY, BATCH, RATE, SEEDS = 600, 50, 500, 0.1, range(5)
PART = "cosine of the gradients before and after, batch less none"


def measure() -> Outcome:
    import copy

    import numpy as np
    import torch

    from normbench.probes.contract import Moment
    from normbench.probes.covariate_shift import CovariateShift
    from normbench.seeds import generator

    images, labels = whole_digits("train")
    probe = CovariateShift()
    rows = []

    def cosine(norm: str, seed: int) -> float:
        """Median over layers, mean over looks."""
        random = generator(seed, "C2", "batches")
        net = network("mlp", norm, {"hidden": [100, 100, 100]}, seed)
        found = []
        for step in range(1, STEPS + 1):
            batch = torch.randint(len(images), (1, BATCH), generator=random)
            looked = step == 1 or step % EVERY == 0
            before = copy.deepcopy(net) if looked else None
            trained(net, images, labels, batch, RATE)
            if looked:
                look = Moment(
                    copy.deepcopy(net), images[batch[0]], labels[batch[0]], step, STEPS, before=before, lr=RATE
                )
                scalars = probe.measure(look).scalars
                found.append(float(np.median([one for name, one in scalars.items() if name.endswith("/cosine")])))
                rows.append({"norm": norm, "step": step, "cosine": found[-1]})
        return sum(found) / len(found)

    differences = [cosine("batch", seed) - cosine("none", seed) for seed in SEEDS]
    return Outcome(over_seeds({PART: differences}), medians(rows, "norm", "step", "cosine"))


FINDING = Finding(
    id="C2",
    cite="Santurkar et al. 2018 (arXiv 1805.11604), section 2.3, figure 3, definition 2.1",
    claim="Batch norm does not reduce internal covariate shift.",
    published=(Published("as much or more of it with batch norm; curves only", "figure 3"),),
    experiment=Computation(measure, seconds=70.0),
    criterion=(Bound(PART, high=0.0),),
    tier=1,
    differs=(
        "A perceptron of three layers of 100 on MNIST instead of VGG on CIFAR-10 and a linear network of 25 layers; "
        "600 steps of SGD at 0.1 on 500 images, looked at every 50 steps, five seeds. A layer's gradient before and "
        "after those before it made their step: a smaller cosine is more shift. The distance between the gradients, "
        "which is shown there too, is not judged."
    ),
    plot=Plot("step", "cosine", "norm", caption="Median over layers and seeds; 1 is no internal covariate shift."),
)
