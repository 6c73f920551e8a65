"""Same padding."""

from __future__ import annotations

from normbench.findings.finding import Bound, Computation, Finding, Outcome, Published
from normbench.findings.measure import exact


def measure() -> Outcome:
    import torch

    def kept(kernel: int, stride: int) -> bool:
        x, weight = torch.zeros(1, 1, 28, 28), torch.zeros(1, 1, kernel, kernel)
        return torch.nn.functional.conv2d(x, weight, stride=stride, padding=(kernel - 1) // 2).shape[-1] == 28

    kernels = range(1, 10)
    odd = [kernel for kernel in kernels if kernel % 2]
    return Outcome(
        exact(
            share_of_kernels_that_keep_the_size=sum(kept(k, 1) for k in kernels) / len(kernels),
            share_of_odd_kernels=sum(kept(k, 1) for k in odd) / len(odd),
            share_of_odd_kernels_at_stride_2=sum(kept(k, 2) for k in odd) / len(odd),
        )
    )


FINDING = Finding(
    id="S2",
    cite="The founding text (the blog post that normbench started from)",
    claim="Padding P = (K - 1) / 2 keeps the size.",
    published=(Published("P = (K - 1) / 2", "the founding text"),),
    experiment=Computation(measure, seconds=1.0),
    criterion=(Bound("share of kernels that keep the size", low=0.999),),
    tier=0,
    differs="Kernels of 1 to 9 on 28 x 28 at stride 1; where (K - 1) / 2 is no whole number it is rounded down.",
    note=(
        "True as it is meant, for odd kernels at stride 1; an even kernel needs one more pixel on one side, "
        "which no symmetric padding gives."
    ),
)
