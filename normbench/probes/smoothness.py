"""The probe `smoothness`: how loss and gradient change along the step that was made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from normbench.probes.contract import Measurement, Moment, Probe, register_probe
from normbench.spec.values import Count, Number, Positive

if TYPE_CHECKING:
    from torch import Tensor


@register_probe("smoothness")
class Smoothness(Probe):
    """Range of the loss and of the gradient's change along the gradient, at a few lengths (Santurkar et al. 2018).

    From the weights before the last optimizer step, on the batch of that step as it was used (train mode, the same
    dropout), weights are moved against the gradient g of the mean cross-entropy (nats) by k lr g, for each k of
    `lengths`; lr is the learning rate of the step (arXiv 1805.11604, figure 4). loss is that before; loss_low and
    loss_high are the smallest and largest over the lengths, loss_range the one from the other. gradient_low,
    gradient_mean and gradient_high are those of ||g - g_k||, the distance to the gradient found there, and
    gradient_range likewise; gradient is ||g||. beta is the largest ||g - g_k|| / (k lr ||g||): how fast the gradient
    changes with the distance. Arrays `losses` and `changes` have the loss and ||g - g_k|| of each length. A number is
    NaN where a loss or gradient is not finite.

    Buffers and random numbers are at each length as before the step. Cost: as many forward and backward passes of a
    batch as `lengths`, and one more; memory: three times the network, its gradient twice, the activations of a batch.

    Args:
        times: How many times, evenly spread over the budget, the last at its end.
        at: Optimizer steps that are measured, instead, from 1.
        lengths: Lengths of the step, in steps of gradient descent at the learning rate.
    """

    wants_before: ClassVar[bool] = True

    def __init__(
        self, *, times: Count = 10, at: Sequence[Number] = (), lengths: Sequence[Positive] = (0.5, 1.0, 2.0, 4.0)
    ) -> None:
        super().__init__(times=times, at=at)
        self.lengths = tuple(lengths)

    def schedule(self, steps: int) -> list[int]:
        """A step has to be made before it is measured."""
        return [step for step in super().schedule(steps) if step >= 1]

    def measure(self, moment: Moment) -> Measurement:
        import numpy as np
        import torch

        from normbench.probes import watching

        net = moment.net if moment.before is None else moment.before
        with watching.restored(net):
            parameters = [one for one in net.parameters() if one.requires_grad]
            start = [one.detach().clone() for one in parameters]

            def descended() -> tuple[float, list[Tensor]]:
                with watching.restored(net, parameters=False):
                    return watching.gradient(net, moment.images, moment.labels, parameters)

            loss, slope = descended()
            losses, changes = [], []
            for length in self.lengths:
                with torch.no_grad():
                    for one, old, part in zip(parameters, start, slope, strict=True):
                        one.copy_(old - length * moment.lr * part)
                there, found = descended()
                losses.append(there)
                changes.append(watching.distance(found, slope))
        size = watching.distance(slope)
        far = np.array(self.lengths) * moment.lr * size
        values, moved = np.array(losses), np.array(changes)
        scalars = {"loss": loss, "loss_low": values.min(), "loss_high": values.max(), "loss_range": np.ptp(values)}
        scalars |= {"gradient": size, "gradient_low": moved.min(), "gradient_mean": moved.mean()}
        scalars |= {"gradient_high": moved.max(), "gradient_range": np.ptp(moved)}
        with np.errstate(invalid="ignore", divide="ignore"):
            scalars["beta"] = (moved / far).max()
        return Measurement(
            {name: float(value) for name, value in scalars.items()}, {"losses": values, "changes": moved}
        )
