"""Saturation of sigmoid units."""

from __future__ import annotations

from typing import TYPE_CHECKING

from normbench.findings.finding import Bound, Computation, Finding, Outcome, Published
from normbench.findings.measure import network, over_seeds, trained, whole_digits

if TYPE_CHECKING:
    from torch import Tensor, nn

STEPS, BATCH, RATE, SEEDS, IMAGES = 1000, 60, 0.1, range(5), 1000
SPREADS = (0.05, 1.0)


def measure() -> Outcome:
    import torch

    from normbench.probes.activations import saturation
    from normbench.seeds import generator

    images, labels = whole_digits("train")
    test_images, _ = whole_digits("test")

    def saturated(net: nn.Module) -> float:
        """Share of saturated outputs of all sigmoid units, in evaluation."""
        shares: list[Tensor] = []
        hooks = [
            module.register_forward_hook(lambda sigmoid, _, y: shares.append(saturation(sigmoid, y.T)["saturated"]))
            for module in net.modules()
            if isinstance(module, torch.nn.Sigmoid)
        ]
        with torch.no_grad():
            net.eval()(test_images[:IMAGES])
        for hook in hooks:
            hook.remove()
        return float(torch.cat(shares).mean())

    def arm(norm: str, std: float, seed: int) -> float:
        random = generator(seed, "S33", "batches")
        batches = [torch.randint(len(images), (BATCH,), generator=random) for _ in range(STEPS)]
        options = {"hidden": [100, 100, 100], "activation": "sigmoid"}
        net = network("mlp", norm, options, seed, init="normal", std=std)
        trained(net, images, labels, batches, RATE)
        return saturated(net)

    found: dict[str, list[float]] = {}
    for std in SPREADS:
        none, batch = ([arm(norm, std, seed) for seed in SEEDS] for norm in ("none", "batch"))
        found[f"standard deviation {std:g}: saturated outputs, none less batch"] = [
            bare - normed for bare, normed in zip(none, batch, strict=True)
        ]
        found[f"standard deviation {std:g}: saturated outputs, batch"] = batch
    return Outcome(over_seeds(found))


FINDING = Finding(
    id="S33",
    cite="The founding text (the blog post that normbench started from); Ioffe & Szegedy 2015 (arXiv 1502.03167)",
    claim="Batch norm keeps sigmoid units from saturating.",
    published=(Published("it prevents saturation", "the founding text"),),
    experiment=Computation(measure, seconds=80.0),
    criterion=tuple(
        Bound(f"standard deviation {std:g}: saturated outputs, none less batch", low=0.05) for std in SPREADS
    ),
    tier=1,
    differs=(
        "Three layers of 100 sigmoid units on MNIST, batch 60, 1,000 steps of SGD at 0.1, five seeds; initial weights "
        "of two spreads, since the text names no condition. An output within 5 % of the range from either end is "
        "saturated; a share of five points is asked for."
    ),
)
