"""The cost of a convolution."""

from __future__ import annotations

from normbench.findings.finding import Bound, Computation, Finding, Outcome, Published
from normbench.findings.measure import exact


def measure() -> Outcome:
    from normbench.models import macs
    from normbench.models.registry import completed
    from normbench.spec.registry import MODELS
    from normbench.spec.schema import ModelConfig

    def cost(stride: int) -> int:
        model = completed(ModelConfig(name="cnn", options={"stride": stride, "pool": "none", "hidden": []}))
        return macs(MODELS.get("cnn").facts["layers"](model, (1, 28, 28), 10))

    return Outcome(exact(ratio_of_multiply_adds=cost(2) / cost(1)))


FINDING = Finding(
    id="S10",
    cite="The founding text (the blog post that normbench started from)",
    claim="A stride of 2 cuts the cost of the network.",
    published=(Published("cheaper", "the founding text"),),
    experiment=Computation(measure, seconds=1.0),
    criterion=(Bound("ratio of multiply adds", high=0.5),),
    tier=0,
    differs=(
        "Multiply-adds of two convolutions of 32 and 64 channels without pooling and without hidden layer, "
        "stride 2 against 1."
    ),
)
