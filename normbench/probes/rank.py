"""The probe `rank`: whether the network still tells images apart: stable rank and cosines of activations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from normbench.probes.contract import Measurement, Moment, Probe, register_probe
from normbench.spec.values import Count, Number

if TYPE_CHECKING:
    from torch import Tensor


@register_probe("rank")
class Rank(Probe):
    """Stable rank of the activations at every norm's place, and the cosine between those of two images.

    A layer is a place where a norm stands (`none` stands there too), and its activations are what comes out: a matrix
    A with a row of all channels and positions for each image. LAYER/stable_rank is ||A||_F^2 / ||A||_2^2, from 1 (all
    rows are multiples of one) to the number of images (Daneshmand et al. 2020, arXiv 2003.01652). LAYER/cosine is the
    mean cosine between the rows of two images, over all pairs: 1 where they point the same way (Bjorck et al. 2018,
    arXiv 1806.02375; Lubana et al. 2021, arXiv 2106.05956). Nothing is subtracted before. An image whose activations
    are all zero is in no pair.

    It measures before the first step too, in train mode without dropout, on the same validation images each time, in
    batches as large as those of the run. Cost: a forward pass of `images` images, and images^2 products of activations;
    memory: the activations of `images` images at all norms' places.

    Args:
        times: How many times, evenly spread over the budget, the last at its end.
        at: Optimizer steps after which to measure, instead; 0 is before the first.
        images: Validation images; what is left over of whole batches is not seen.
    """

    initial: ClassVar[bool] = True
    wants_held_out: ClassVar[bool] = True

    def __init__(self, *, times: Count = 10, at: Sequence[Number] = (), images: Count = 128) -> None:
        super().__init__(times=times, at=at)
        self.images = images

    def measure(self, moment: Moment) -> Measurement:
        import torch

        from normbench.norms.placement import placed
        from normbench.probes import watching

        images, _ = moment.held_out(self.images)
        found: dict[str, list[Tensor]] = {}

        def note(name: str, given: Tensor, output: Tensor) -> None:
            found.setdefault(name, []).append(output.flatten(1))

        net = watching.without_dropout(moment.net.train())
        with torch.no_grad(), watching.watched(placed(net), note) as next_pass:
            for part in watching.batches(images, len(moment.images)):
                next_pass()
                net(part)
        scalars: dict[str, float] = {}
        for name, parts in found.items():
            products = watching.precise(torch.cat(parts))
            products = products @ products.T
            scalars |= {f"{name}/stable_rank": stable_rank(products), f"{name}/cosine": mean_cosine(products)}
        return Measurement(scalars)


def stable_rank(products: Tensor) -> float:
    """||A||_F^2 / ||A||_2^2 from A A^T, (N, N); NaN where A is zero or not finite."""
    import torch

    if not bool(products.isfinite().all()):
        return math.nan
    largest = float(torch.linalg.eigvalsh(products.cpu())[-1])
    return float(products.trace()) / largest if largest > 0 else math.nan


def mean_cosine(products: Tensor) -> float:
    """The mean cosine between two different rows of A, from A A^T, (N, N), rows of zero left out; NaN without pairs."""
    import torch

    lengths = products.diagonal().sqrt()
    kept = lengths != 0
    products, lengths = products[kept][:, kept], lengths[kept]
    count = len(lengths)
    if count < 2:
        return math.nan
    cosines = products / torch.outer(lengths, lengths)
    return float(cosines.sum() - cosines.trace()) / (count * (count - 1))
