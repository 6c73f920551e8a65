"""The probe `statistics`: what the statistics of a batch and running averages differ by, and what that does."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from normbench.probes.contract import Measurement, Moment, Probe, register_probe
from normbench.spec.values import Count, Number

if TYPE_CHECKING:
    from torch import Tensor, nn


@register_probe("statistics")
class Statistics(Probe):
    """Statistics of batches against running averages: how far apart they are, and three evaluations.

    Of each layer LAYER with running averages: LAYER/mean_gap, the root mean square over channels of the difference
    between the last batch's mean and the running one, in running standard deviations; LAYER/variance_gap, that of the
    logarithm of the batch's (unbiased) variance over the running one. On validation images: error_running, as every
    evaluation has it; error_recomputed, with running averages made anew from training images (Wu & Johnson 2021,
    arXiv 2105.07576, section 3.2); error_batch, where each batch is normalised by its own statistics (Nado et al.
    2020, arXiv 2006.10963), all in %; nll_running, nll_recomputed, nll_batch, in nats. mates: by how much the logits
    of an image change where the other images of its batch are others, as the standard deviation over batches (root
    mean square over logits) over the root mean square of the logits; 0 for a norm that takes one image at a time.

    Batches are as large as those of a device in the run, and without dropout. Cost: forward passes of three times
    `images` validation images, of as many training images and of `mates` batches; memory: twice the network.

    Args:
        times: How many times, evenly spread over the budget, the last at its end.
        at: Optimizer steps after which to measure, instead; 0 is before the first.
        images: Validation images, and training images to recompute averages.
        mates: Batches in which the first validation image is.
    """

    wants_held_out: ClassVar[bool] = True

    def __init__(self, *, times: Count = 10, at: Sequence[Number] = (), images: Count = 500, mates: Count = 8) -> None:
        super().__init__(times=times, at=at)
        self.images, self.mates = images, mates

    def measure(self, moment: Moment) -> Measurement:
        import torch

        from normbench.models.averages import recomputed
        from normbench.probes.watching import batches, without_dropout

        size = len(moment.images)
        images, labels = moment.held_out(self.images)
        with torch.no_grad():
            scalars = gaps(copy.deepcopy(moment.net), moment.images)
            plain = copy.deepcopy(moment.net).eval()
            logits = {"running": torch.cat([plain(part) for part in images.split(size)])}
            anew = copy.deepcopy(moment.net)
            with recomputed(anew):
                without_dropout(anew)
                for part in batches(moment.trained_on(self.images)[0], size):
                    anew(part)
            anew.eval()
            logits["recomputed"] = torch.cat([anew(part) for part in images.split(size)])
            own = without_dropout(copy.deepcopy(moment.net).train())
            if size > 1:
                parts = batches(images, size)
                logits["batch"] = torch.cat([own(part) for part in parts])
                scalars["mates"] = change(own, images, size, self.mates)
        for kind, found in logits.items():
            right = (found.argmax(-1) == labels[: len(found)]).double().mean()
            nll = torch.nn.functional.cross_entropy(found.double(), labels[: len(found)])
            scalars |= {f"error_{kind}": 100 * (1 - float(right)), f"nll_{kind}": float(nll)}
        return Measurement(scalars)


def gaps(net: nn.Module, images: Tensor) -> dict[str, float]:
    """How far the statistics of a batch are from the running averages, of each layer that has some."""
    from normbench.models.averages import averaging
    from normbench.probes import watching

    layers = averaging(net)
    standing = {name: (layer.running_mean.clone(), layer.running_var.clone()) for name, layer in layers.items()}
    found: dict[str, float] = {}

    def note(name: str, given: Tensor, output: Tensor) -> None:
        layer = name.partition("#")[0]
        values = watching.precise(given.transpose(0, 1).flatten(1))  # a norm's input is (N, C, ...)
        mean, variance = (watching.precise(each) for each in standing[layer])
        found[f"{name}/mean_gap"] = _root_mean_square((values.mean(1) - mean) / variance.sqrt())
        found[f"{name}/variance_gap"] = _root_mean_square((values.var(1) / variance).log())

    with watching.watched(layers, note):
        watching.without_dropout(net.train())(images)
    return {key: value for key, value in found.items() if math.isfinite(value)}


def change(net: nn.Module, images: Tensor, size: int, times: int) -> float:
    """Relative change of the logits of the first image over `times` batches of `size` with different other images."""
    import torch

    from normbench.seeds import generator  # with torch

    draws = generator(0, "probe", "mates")
    found = []
    for _ in range(times):
        mates = 1 + torch.randperm(len(images) - 1, generator=draws)[: size - 1]
        found.append(net(torch.cat([images[:1], images[mates]]))[0].detach().double())
    logits = torch.stack(found)
    return _root_mean_square(logits.std(0, correction=0)) / _root_mean_square(logits)


def _root_mean_square(values: Tensor) -> float:
    return float(values.square().mean().sqrt())
