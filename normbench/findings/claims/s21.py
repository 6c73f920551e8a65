"""What batch norm costs in evaluation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from normbench.findings.finding import Bound, Computation, Finding, Outcome, Published
from normbench.findings.measure import digits, exact, network


def measure() -> Outcome:
    import torch
    from torch import nn
    from torch.utils._python_dispatch import TorchDispatchMode

    from normbench.train.fold import folded

    class Counter(TorchDispatchMode):
        """Counts the operators that torch executes."""

        count = 0

        def __torch_dispatch__(
            self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
        ) -> Any:
            self.count += 1
            return func(*args, **(kwargs or {}))

    images, _ = digits(8)

    def operators(net: nn.Module) -> int:
        with torch.no_grad(), Counter() as counter:
            net(images)
        return counter.count

    plain, normed = (network("digit_cnn", norm, {}, seed=0).eval() for norm in ("none", "batch"))
    fused, _ = folded(normed, images)
    return Outcome(
        exact(
            operators_more_than_without_a_norm=operators(normed) - operators(plain),
            operators_more_once_fused=operators(fused) - operators(plain),
        )
    )


FINDING = Finding(
    id="S21",
    cite="The founding text (the blog post that normbench started from)",
    claim="Batch norm costs nothing in evaluation.",
    published=(Published("zero overhead, since it can be fused", "the founding text"),),
    experiment=Computation(measure, seconds=1.0),
    criterion=(
        Bound("operators more than without a norm", high=0.5),
        Bound("operators more once fused", high=0.5),
    ),
    tier=0,
    differs=(
        "Operators that torch executes in an evaluation of the digit CNN with two batch norms, counted, since times "
        "differ between machines; `normbench cost --inference` measures those."
    ),
    note="True of a network that was fused, which torch does not do by itself: see S20.",
)
