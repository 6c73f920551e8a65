"""The probe `activations`: how what goes into and comes out of each activation function is distributed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from normbench.probes.contract import Measurement, Moment, Probe, register_probe
from normbench.spec.values import Count, Number

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

PERCENTILES = (5, 15, 50, 85, 95)
BAND = (15, 50, 85)  # Ioffe & Szegedy 2015, figure 1
SATURATED = 0.05  # of the range of sigmoid or tanh, at either end


@register_probe("activations")
class Activations(Probe):
    """Distribution of the inputs of every activation function, and shares of saturated and dead outputs.

    A layer is an activation function (or a norm that replaces one, of which the outputs are measured; or, in a network
    without either, each module with parameters of its own). LAYER/p5, p15, p50, p85, p95, mean, variance, skew and
    kurtosis (excess: 0 for a normal distribution) are over the values of all its units; a unit is a channel or a
    feature. LAYER/saturated is the share of outputs of sigmoid and tanh in the outer 5 % of their range at either
    end; LAYER/dead the share of units that give the same output for every image and position. LAYER/drift is how far
    p15, p50 and p85 of a unit have moved since the measurement before, on average, over its p85 - p15 now: the median
    over units (after Ioffe & Szegedy 2015, arXiv 1502.03167, figure 1). All but drift are given for `units` units one
    by one too, as arrays; of a unit dead is 1 or 0.

    It measures before the first step too, in train mode, on the same training images each time, in batches as large
    as those of the run. Cost: a forward pass of `images` images; memory: `values` numbers of 8 bytes for each unit.

    Args:
        times: How many times, evenly spread over the budget, the last at its end.
        at: Optimizer steps after which to measure, instead; 0 is before the first.
        images: Training images.
        values: Values of a unit at most: positions of maps are evenly left out.
        units: Units of each layer, evenly chosen, that are given one by one.
    """

    initial: ClassVar[bool] = True

    def __init__(
        self,
        *,
        times: Count = 10,
        at: Sequence[Number] = (),
        images: Count = 256,
        values: Count = 1024,
        units: Count = 32,
    ) -> None:
        super().__init__(times=times, at=at)
        self.images, self.values, self.units = images, values, units

    def measure(self, moment: Moment) -> Measurement:
        import torch

        from normbench.probes import watching

        images, _ = moment.trained_on(self.images)
        parts = watching.batches(images, len(moment.images))
        found: dict[str, list[Tensor]] = {}
        outputs: dict[str, list[Tensor]] = {}
        modules = watching.activations(moment.net) or watching.weighted(moment.net)
        most = max(1, self.values // sum(map(len, parts)))

        def note(name: str, given: Tensor, output: Tensor) -> None:
            module = modules[name.partition("#")[0]]
            own = type(module).__module__ != watching.ACTIVATIONS
            for kept, values in ((found, output if own else given), (outputs, output)):
                kept.setdefault(name, []).append(thinned(watching.units(values, module), most))

        with torch.no_grad(), watching.watched(modules, note) as next_pass:
            for part in parts:
                next_pass()
                moment.net(part)
        scalars: dict[str, float] = {}
        arrays: dict[str, np.ndarray[Any, Any]] = {}
        for name in found:
            values, output = (watching.precise(torch.cat(kept[name], 1)) for kept in (found, outputs))
            shares = saturation(modules[name.partition("#")[0]], output) | {"dead": dead(output)}
            each = described(values) | shares
            chosen = torch.linspace(0, len(values) - 1, min(self.units, len(values))).round().long()
            own = {f"{name}/{key}": numbers.cpu()[chosen].numpy() for key, numbers in each.items()}
            whole = described(values.reshape(1, -1)) | {key: numbers.mean() for key, numbers in shares.items()}
            scalars |= {f"{name}/{key}": float(number) for key, number in whole.items()}
            moved = drift(name, moment.previous, own)
            scalars |= {} if moved is None else {f"{name}/drift": moved}
            arrays |= own
        return Measurement(scalars, arrays)


def thinned(values: Tensor, most: int) -> Tensor:
    """(units, images, positions) with `most` evenly chosen positions at most, as (units, values)."""
    import torch

    positions = values.shape[2]
    if positions > most:
        values = values[:, :, torch.linspace(0, positions - 1, most).round().long().to(values.device)]
    return values.flatten(1)


def described(values: Tensor) -> dict[str, Tensor]:
    """Percentiles and moments of (units, values), each (units,); all NaN for a unit with a value that is none."""
    import torch

    shares = values.new_tensor([number / 100 for number in PERCENTILES])
    finite = values.isfinite().all(1, keepdim=True)
    values = torch.where(finite, values, math.nan)
    percentiles = torch.quantile(values, shares, dim=1)
    mean = values.mean(1, keepdim=True)
    around = values - mean
    variance = around.square().mean(1)
    return {
        **{f"p{number}": row for number, row in zip(PERCENTILES, percentiles, strict=True)},
        "mean": mean.squeeze(1),
        "variance": variance,
        "skew": around.pow(3).mean(1) / variance.pow(1.5),
        "kurtosis": around.pow(4).mean(1) / variance.square() - 3,
    }


def saturation(module: nn.Module, outputs: Tensor) -> dict[str, Tensor]:
    """Share of saturated values of each unit, (units,), of an activation function that has two ends."""
    from torch.nn import Sigmoid, Tanh

    if not isinstance(module, Sigmoid | Tanh):
        return {}
    place = outputs if isinstance(module, Sigmoid) else (outputs + 1) / 2
    return {"saturated": ((place < SATURATED) | (place > 1 - SATURATED)).double().mean(1)}


def dead(outputs: Tensor) -> Tensor:
    """1 for each unit of (units, values) whose values are all the same, else 0."""
    return (outputs.amax(1) == outputs.amin(1)).double()


def drift(
    layer: str, before: Mapping[str, np.ndarray[Any, Any]], now: Mapping[str, np.ndarray[Any, Any]]
) -> float | None:
    """The median over units of the mean change of p15, p50 and p85, over p85 - p15 now; None without a measurement
    before."""
    import numpy as np

    names = [f"{layer}/p{number}" for number in BAND]
    if not all(name in before for name in names):
        return None
    change = np.mean([np.abs(now[name] - before[name]) for name in names], axis=0)
    spread = now[names[-1]] - now[names[0]]
    relative = change[spread > 0] / spread[spread > 0]
    return float(np.median(relative)) if len(relative) else math.nan
