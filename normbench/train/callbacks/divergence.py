"""Whether a run has left the finite numbers, and at which optimizer step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


class Losses:
    """The losses of the batches since the last point of the curve.

    Appending one is all that a step costs; they are read together at the next point.

    Args:
        parts: Accumulated parts of a global batch: so many losses belong to one optimizer step.
    """

    def __init__(self, parts: int) -> None:
        self.parts = parts
        self.pending: list[Tensor] = []
        self._restored: list[float] = []

    def add(self, outputs: Mapping[str, Tensor]) -> None:
        """Adds what a training step gave: its `loss`, or the `losses` of a block of steps."""
        if "losses" in outputs:
            self.pending.extend(outputs["losses"].unbind())
        else:
            self.pending.append(outputs["loss"].detach())

    def shared(self, device: torch.device, world_size: int) -> Tensor:
        """All pending losses in their order, float64 on the CPU, averaged over all processes.

        So all processes see a divergence, and stop, at the same step. They are moved before they become float64:
        Apple's GPUs have none.
        """
        # Lightning hands out the loss divided by the number of accumulated parts.
        fresh = torch.stack(self.pending).cpu().double() * self.parts if self.pending else torch.empty(0).double()
        losses = torch.cat([torch.tensor(self._restored, dtype=torch.float64), fresh])
        if world_size > 1:
            losses = losses.to(device)
            dist.all_reduce(losses)
            losses = losses.cpu() / world_size
        return losses

    def clear(self) -> None:
        """Forgets them, as a point of the curve holds them now."""
        self.pending, self._restored = [], []

    def state(self, device: torch.device, world_size: int) -> list[float]:
        """What a resumed run goes on with. Every process has to call it: all of them read rank 0's checkpoint."""
        return [float(loss) for loss in self.shared(device, world_size)]

    def restore(self, state: list[float]) -> None:
        """Takes up what `state` gave."""
        self.pending, self._restored = [], list(state)


def first_bad_step(losses: Tensor, step: int, parts: int) -> int | None:
    """The optimizer step of the first loss that is not finite, or None.

    Args:
        losses: The losses up to optimizer step `step`, `parts` for each step.
        step: The last of them.
        parts: Accumulated parts of a step.
    """
    bad = (~losses.isfinite()).nonzero()
    return step - (len(losses) - 1 - int(bad[0])) // parts if len(bad) else None


def ruined(net: nn.Module, metrics: Mapping[str, Any]) -> bool:
    """Whether the last update, which no loss was computed after, ended in numbers that are not finite.

    Seen in the weights, or in an evaluation: with finite weights, running statistics may have overflowed.
    """
    weights = all(bool(p.isfinite().all()) for p in net.parameters() if p.is_floating_point())
    return not weights or any(not math.isfinite(float(value)) for value in metrics.values())
