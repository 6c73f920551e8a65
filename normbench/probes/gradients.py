"""The probe `gradients`: how large gradients and updates are, and what they mean to a weight without a scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from normbench.probes.contract import Measurement, Moment, Probe, register_probe
from normbench.spec.counts import evenly_spread

if TYPE_CHECKING:
    from torch import Tensor, nn

INVARIANT = 1e-3  # largest cosine between gradient and weight at which a weight counts as scale-invariant


@register_probe("gradients")
class Gradients(Probe):
    """Norm of every layer's gradient, its update over its weight, and the effective rate of scale-invariant weights.

    A layer is a module with parameters of its own. What is measured is the last optimizer step: LAYER/gradient is the
    Euclidean norm of the gradient of the mean cross-entropy (nats) that it computed (before clipping and weight decay;
    of the last part of an accumulated batch, of rank 0's part on several devices). LAYER/update is the norm of the
    change of the parameters, LAYER/weight their norm before, LAYER/ratio the one over the other. Of kernels and
    matrices alone: LAYER/angle, in radians, between the weight before and after, and LAYER/radial, the cosine between
    gradient and weight. Where that is 0 (below 1e-3), as in front of a norm, the loss does not change with the
    weight's scale, and LAYER/effective_lr is lr over its squared norm (van Laarhoven 2017, arXiv 1706.05350).

    The first step, so the network at its initialisation, is measured too. Cost: a forward and a backward pass of one
    batch, and a copy of the network before each measured step; memory: three times the network, and the activations
    of a batch.

    Args:
        times: How many times, evenly spread over the budget, the last at its end.
        at: Optimizer steps after which to measure, instead, from 1.
    """

    wants_before: ClassVar[bool] = True

    def schedule(self, steps: int) -> list[int]:
        """The first step, and those evenly spread."""
        if self.at:
            return sorted({step for step in self.at if 1 <= step <= steps})
        return sorted({1, *evenly_spread(steps, self.times)})

    def measure(self, moment: Moment) -> Measurement:
        from torch.nn import functional as F

        from normbench.probes import watching

        before = moment.net if moment.before is None else moment.before
        F.cross_entropy(before(moment.images).float(), moment.labels).backward()
        after = watching.weighted(moment.net)
        scalars: dict[str, float] = {}
        for name, layer in watching.weighted(before).items():
            numbers = compared(layer, after[name], moment.lr)
            scalars |= {f"{name}/{key}": value for key, value in numbers.items()}
        return Measurement(scalars)


def compared(before: nn.Module, after: nn.Module, rate: float) -> dict[str, float]:
    """The numbers of a layer, from its parameters and gradients before a step, and its parameters after it."""
    pairs = list(zip(before.parameters(recurse=False), after.parameters(recurse=False), strict=True))
    numbers = dict(zip(("gradient", "weight", "update"), map(math.sqrt, _squares(pairs)), strict=True))
    numbers["ratio"] = numbers["update"] / numbers["weight"] if numbers["weight"] else math.nan
    kernels = [(old, new) for old, new in pairs if old.dim() > 1 and old.grad is not None]
    if not kernels:
        return numbers
    old, new, gradient = (
        _joined(tensors) for tensors in zip(*((old, new, old.grad) for old, new in kernels), strict=True)
    )
    numbers["angle"] = angle(old, new)
    size = float(old.norm())
    numbers["radial"] = float(gradient @ old) / (size * float(gradient.norm()) or math.nan)
    if abs(numbers["radial"]) < INVARIANT:
        numbers["effective_lr"] = rate / size**2
    return numbers


def angle(one: Tensor, other: Tensor) -> float:
    """The angle between two vectors, in radians; precise for small ones too, where the cosine is not."""
    a, b = one / one.norm(), other / other.norm()
    return 2 * math.atan2(float((a - b).norm()), float((a + b).norm()))


def _squares(pairs: Sequence[tuple[Tensor, Tensor]]) -> tuple[float, float, float]:
    from normbench.probes.watching import precise

    gradient = weight = update = 0.0
    for old, new in pairs:
        gradient += 0.0 if old.grad is None else float(precise(old.grad).square().sum())
        weight += float(precise(old.detach()).square().sum())
        update += float((precise(new.detach()) - precise(old.detach())).square().sum())
    return gradient, weight, update


def _joined(tensors: tuple[Tensor, ...]) -> Tensor:
    import torch

    from normbench.probes.watching import precise

    return torch.cat([precise(tensor.detach()).flatten() for tensor in tensors])
