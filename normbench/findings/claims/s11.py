"""Where parameters and activations are."""

from __future__ import annotations

from normbench.findings.finding import Bound, Computation, Finding, Outcome, Published
from normbench.findings.measure import exact


def measure() -> Outcome:
    import math

    from normbench.models.registry import completed
    from normbench.spec.registry import MODELS
    from normbench.spec.schema import ModelConfig

    layers = MODELS.get("digit_cnn").facts["layers"](completed(ModelConfig(name="digit_cnn")), (1, 28, 28), 10)
    parameters = sum(layer.parameters for layer in layers)
    activations = sum(math.prod(layer.outputs) for layer in layers)
    return Outcome(
        exact(
            parameters=parameters,
            share_of_parameters_in_linear_layers=sum(x.parameters for x in layers if not x.spatial) / parameters,
            share_of_activations_in_convolutions=sum(math.prod(x.outputs) for x in layers if x.spatial) / activations,
        )
    )


FINDING = Finding(
    id="S11",
    cite="The founding text (the blog post that normbench started from)",
    claim="Almost all parameters of the digit CNN are in its linear layers, and most activations in its convolutions.",
    published=(Published("421,642 parameters", "the founding text"),),
    experiment=Computation(measure, seconds=1.0),
    criterion=(
        Bound("parameters", 421_641, 421_643),
        Bound("share of parameters in linear layers", low=0.9),
        Bound("share of activations in convolutions", low=0.5),
    ),
    tier=0,
    differs='"Almost all" is read as 90 %, "most" as half.',
)
