"""Synchronised batch norm."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from normbench.findings.finding import Bound, Computation, Finding, Outcome, Published
from normbench.findings.measure import exact, largest, normal
from normbench.norms import build_norm

if TYPE_CHECKING:
    from torch import Tensor


def measure() -> Outcome:
    import torch
    from torch import nn

    x, slope = normal(32, 6, 5, 5), normal(32, 6, 5, 5, name="slope")
    sides = [x[:16], x[16:]]
    together = build_norm("batch", 6).double()

    def both(function: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        at = x.clone().requires_grad_()
        y = function(at)
        return y.detach(), torch.autograd.grad((y * slope).sum(), at)[0]

    def synchronised(at: Tensor) -> Tensor:
        """What two devices compute that share only their sums, sums of squares and counts."""
        parts = at.split(16)
        count = sum(part.numel() / 6 for part in parts)
        mean = sum(part.sum((0, 2, 3)) for part in parts) / count
        square = sum((part**2).sum((0, 2, 3)) for part in parts) / count
        scale = torch.rsqrt(square - mean**2 + 1e-5)
        return torch.cat([(p - mean.view(1, 6, 1, 1)) * scale.view(1, 6, 1, 1) for p in parts])

    def alone(at: Tensor) -> Tensor:
        return torch.cat([nn.BatchNorm2d(6).double()(part) for part in at.split(16)])

    whole, shared = both(together), both(synchronised)
    ghost, apart = both(build_norm("ghost", 6, size=16).double()), both(alone)
    return Outcome(
        exact(
            synchronised_less_whole_batch_forward=largest(shared[0] - whole[0]),
            synchronised_less_whole_batch_gradient=largest(shared[1] - whole[1]),
            apart_less_ghost_forward=largest(apart[0] - ghost[0]),
            apart_less_ghost_gradient=largest(apart[1] - ghost[1]),
            apart_less_whole_batch_forward=largest(apart[0] - whole[0]),
            images_on_a_device=len(sides[0]),
        )
    )


FINDING = Finding(
    id="B14",
    cite="torch.nn.SyncBatchNorm, documentation",
    claim=(
        "Synchronised batch norm over several devices is batch norm of their batches together, and without it "
        "each device has ghost batches."
    ),
    published=(Published("statistics over all devices", "documentation of torch.nn.SyncBatchNorm"),),
    experiment=Computation(measure, seconds=1.0),
    criterion=(
        Bound("synchronised less whole batch forward", high=1e-5),
        Bound("synchronised less whole batch gradient", high=1e-5),
        Bound("apart less ghost forward", high=1e-5),
        Bound("apart less ghost gradient", high=1e-5),
        Bound("apart less whole batch forward", low=1e-2),
    ),
    tier=0,
    differs=(
        "Two devices of 16 images, computed in one process from the sums that they would exchange, float64; "
        "real processes are in the package's tests."
    ),
)
