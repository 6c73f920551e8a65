"""Batches whose statistics tell the class."""

from __future__ import annotations

from typing import TYPE_CHECKING

from normbench.findings.finding import Bound, Computation, Finding, Outcome, Published
from normbench.findings.measure import network, over_seeds, trained, whole_digits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

PER_CLASS, CLASSES, STEPS, SEEDS, LAST = 16, 10, 400, range(5), 50


def measure() -> Outcome:
    import torch

    from normbench.seeds import generator

    images, labels = whole_digits("train")
    test_images, test_labels = whole_digits("test")
    of_class = [torch.nonzero(labels == label).flatten() for label in range(CLASSES)]
    found: dict[str, list[float]] = {
        "test accuracy, mixed less two classes": [],
        "training loss, two classes less mixed": [],
        "test accuracy, mixed less one class": [],
        "test accuracy of group norm, mixed less two classes": [],
    }

    def arm(norm: str, size: int, mixed: bool, seed: int) -> tuple[float, float]:
        """Test accuracy, and mean training loss of the last steps. Every arm has the same images at each step."""
        random, order = generator(seed, "B10", "images"), generator(seed, "B10", "order")

        def batches() -> Iterator[Tensor]:
            for _ in range(STEPS):
                picks = [own[torch.randint(len(own), (PER_CLASS,), generator=random)] for own in of_class]
                batch = torch.cat(picks)
                yield batch[torch.randperm(len(batch), generator=order)] if mixed else batch

        model = network("mlp", norm, {"hidden": [128]}, seed, norm_options={"size": size} if norm == "ghost" else {})
        losses = trained(model, images, labels, batches(), lr=0.1)
        with torch.no_grad():
            right = (model.eval()(test_images).argmax(1) == test_labels).float().mean()
        return float(right), sum(losses[-LAST:]) / LAST

    for seed in SEEDS:
        mixed, mixed_loss = arm("ghost", 2 * PER_CLASS, True, seed)
        two, two_loss = arm("ghost", 2 * PER_CLASS, False, seed)
        one, _ = arm("ghost", PER_CLASS, False, seed)
        group = [arm("group", 0, order, seed)[0] for order in (True, False)]
        found["test accuracy, mixed less two classes"].append(mixed - two)
        found["training loss, two classes less mixed"].append(two_loss - mixed_loss)
        found["test accuracy, mixed less one class"].append(mixed - one)
        found["test accuracy of group norm, mixed less two classes"].append(group[0] - group[1])
    return Outcome(over_seeds(found))


FINDING = Finding(
    id="B10",
    cite="Ioffe 2017 (arXiv 1702.03275), section 4.3; Wu & Johnson 2021 (arXiv 2105.07576), section 6",
    claim=(
        "Where the images that share a statistic have few classes, a network learns to read the class from its batch "
        "mates: low training loss, poor test accuracy."
    ),
    published=(
        Published("groups of 32 images from 16 labels, two of each: batch norm 78.3 to 67.0", "section 4.3", False),
    ),
    experiment=Computation(measure, seconds=40.0),
    criterion=(
        Bound("test accuracy, mixed less two classes", low=0.1),
        Bound("training loss, two classes less mixed", high=0.0),
    ),
    tier=1,
    differs=(
        "A perceptron 784-128-10 on MNIST, 400 steps of SGD at 0.1; each step has 16 images of each of the ten classes "
        "in both arms, and only their order differs, so that ghost batches of 32 hold all classes or two. Five seeds. "
        "Group norm, which shares nothing between images, is the control."
    ),
)
