"""The probe `covariate_shift`: how a layer's gradient changes because the layers before it were updated."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar

from normbench.probes.contract import Measurement, Moment, Probe, register_probe
from normbench.spec.values import Count, Number

if TYPE_CHECKING:
    from torch import Tensor, nn


@register_probe("covariate_shift")
class CovariateShift(Probe):
    """Change of a layer's gradient after the layers before it made their step (Santurkar et al. 2018, definition 2.1).

    A layer is a module that has a kernel or a matrix of its own; those before it are all modules that are called
    before it and have parameters, norms among them, a module that has others inside before these. G is the gradient
    of the layer's parameters that the last optimizer step computed (mean cross-entropy in nats, train mode, the same
    dropout), G' that on the same batch where the layers before have the weights after the step, and the layer itself
    and those behind it the ones before (arXiv 1805.11604). LAYER/change is ||G - G'||, LAYER/relative that over ||G||,
    LAYER/cosine the cosine between the two: 1 where there is no internal covariate shift. The first layer has none
    before it, and no numbers. A cosine is NaN where a gradient is zero.

    Buffers and random numbers are the same for both. The first step is measured too. Cost: a forward and a backward
    pass of one batch for each of the layers, and one more; memory: four times the network, the activations of a batch.

    Args:
        times: How many times, evenly spread over the budget, the last at its end.
        at: Optimizer steps that are measured, instead, from 1.
        layers: Layers at most, evenly chosen.
    """

    wants_before: ClassVar[bool] = True

    def __init__(self, *, times: Count = 10, at: Sequence[Number] = (), layers: Count = 8) -> None:
        super().__init__(times=times, at=at)
        self.layers = layers

    def schedule(self, steps: int) -> list[int]:
        """The first step, and those evenly spread."""
        return sorted({step for step in (*super().schedule(steps), *(() if self.at else (1,))) if step >= 1})

    def measure(self, moment: Moment) -> Measurement:
        import torch

        from normbench.probes import watching

        net = moment.net if moment.before is None else moment.before
        updated = dict(moment.net.named_parameters())
        with watching.restored(net):
            order = called(net, moment.images)
            layers = chosen(order, self.layers)

            def gradient(*names: str) -> list[Tensor]:
                with watching.restored(net, parameters=False):
                    own = [one for name in names for one in order[name].values()]
                    return watching.gradient(net, moment.images, moment.labels, own)[1]

            found = iter(gradient(*layers))
            before = {name: list(islice(found, len(order[name]))) for name in layers}
            scalars: dict[str, float] = {}
            for name, own in order.items():
                if name in layers:
                    numbers = compared(before.pop(name), gradient(name))
                    scalars |= {f"{name}/{key}": value for key, value in numbers.items()}
                with torch.no_grad():
                    for key, one in own.items():
                        one.copy_(updated[key])
        return Measurement(scalars)


def called(net: nn.Module, images: Tensor) -> dict[str, dict[str, nn.Parameter]]:
    """The layers that are trained, in the order in which they are first called, each with its parameters by name.

    What computes a weight, as weight norm does, belongs to the layer of the weight.
    """
    import torch

    from normbench.probes import watching

    order: dict[str, dict[str, nn.Parameter]] = {}
    names = {id(one): name for name, one in net.named_parameters() if one.requires_grad}

    def note(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any) -> None:
            own = {names[id(one)]: one for one in module.parameters(recurse=False) if id(one) in names}
            order.setdefault(name.partition(".parametrizations.")[0], {}).update(own)

        return hook

    hooks = [module.register_forward_pre_hook(note(name)) for name, module in watching.weighted(net).items()]
    try:
        with torch.no_grad(), watching.restored(net, parameters=False):
            net(images)
    finally:
        for one in hooks:
            one.remove()
    return order


def chosen(order: Mapping[str, Mapping[str, Tensor]], most: int) -> list[str]:
    """`most` evenly chosen layers at most, of those behind the first that have a kernel or a matrix."""
    import numpy as np

    names = [name for name in list(order)[1:] if any(one.dim() > 1 for one in order[name].values())]
    return [names[place] for place in np.linspace(0, len(names) - 1, min(most, len(names))).round().astype(int)]


def compared(before: Sequence[Tensor], after: Sequence[Tensor]) -> dict[str, float]:
    """Distance, relative distance and cosine of two gradients, each in parts of the same shapes."""
    from normbench.probes import watching

    change, one, other = watching.distance(after, before), watching.distance(before), watching.distance(after)
    product = sum(float((watching.precise(a) * watching.precise(b)).sum()) for a, b in zip(before, after, strict=True))
    return {
        "change": change,
        "relative": change / one if one else math.nan,
        "cosine": product / (one * other) if one * other else math.nan,
    }
