"""Translations and pooling."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from normbench.findings.finding import Bound, Computation, Finding, Outcome, Published, Quantity
from normbench.findings.measure import digits, first_convolution

if TYPE_CHECKING:
    from torch import Tensor


def measure() -> Outcome:
    import torch
    from torch.nn import functional as F

    x, _ = digits(500)
    first = first_convolution()

    def change(pixels: int, features: Callable[[Tensor], Tensor]) -> float:
        with torch.no_grad():
            # In float64: of so many numbers the norm of a strided tensor is off by a thousandth in float32.
            here, there = features(x).double(), features(x.roll(pixels, dims=3)).double()
        return float((here - there).norm() / here.norm())

    def convolved(images: Tensor) -> Tensor:
        return torch.relu(first(images))

    pools: dict[str, Callable[[Tensor], Tensor]] = {
        "no pooling": convolved,
        "max pooling": lambda images: F.max_pool2d(convolved(images), 2),
        "average pooling": lambda images: F.avg_pool2d(convolved(images), 2),
        "stride 2": lambda images: convolved(images)[..., ::2, ::2],
    }
    return Outcome(
        {
            f"relative change, {name}, {pixels} px": Quantity.exact(change(pixels, features))
            for name, features in pools.items()
            for pixels in (1, 2)
        }
    )


FINDING = Finding(
    id="S8",
    cite="The founding text (the blog post that normbench started from)",
    claim="Max pooling makes features invariant to translation.",
    published=(Published("translational invariance", "the founding text"),),
    experiment=Computation(measure, seconds=1.0),
    criterion=(Bound("relative change, max pooling, 1 px", high=0.05),),
    tier=0,
    differs=(
        "Features after the first block of the digit CNN, He initialisation, 500 digits shifted by one and "
        "two pixels; relative change in Euclidean norm. Invariance is read as a change below 5 %."
    ),
    note=(
        "Pooling softens a shift of one pixel; it does not make features invariant. A convolution is "
        "equivariant, and stride 2 aliases."
    ),
    earlier=(
        "First measured on a batch of one class by mistake, since the file is sorted: 0.44: contradicted.",
        "Then with norms in float32, which were off by a thousandth for stride 2 (0.5671): contradicted, as now.",
    ),
)
