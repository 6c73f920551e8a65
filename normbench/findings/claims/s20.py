"""Fusing."""

from __future__ import annotations

from normbench.findings.finding import Bound, Computation, Finding, Outcome, Published
from normbench.findings.measure import exact, largest, normal


def measure() -> Outcome:
    import torch
    from torch import nn
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    conv, layer = nn.Conv2d(3, 6, 3).double(), nn.BatchNorm2d(6).double()
    with torch.no_grad():
        for key, parameter in (*conv.named_parameters(prefix="conv"), *layer.named_parameters(prefix="norm")):
            parameter.copy_(normal(*parameter.shape, name=key))
        layer(conv(3 + normal(16, 3, 8, 8)))
        x, conv, layer = normal(4, 3, 8, 8), conv.eval(), layer.eval()
        fused = fuse_conv_bn_eval(conv, layer)
        y, z = normal(4, 6, 8, 8, name="y"), normal(4, 6, 8, 8, name="z")
        zero = layer(torch.zeros_like(y))
        return Outcome(
            exact(
                largest_difference_once_fused=largest(fused(x) - layer(conv(x))),
                departure_from_an_affine_map=largest(layer(y + z) - layer(y) - layer(z) + zero),
                largest_output_for_input_zero=largest(zero),
            )
        )


FINDING = Finding(
    id="S20",
    cite="The founding text (the blog post that normbench started from)",
    claim="In evaluation batch norm is a fixed linear map and can be fused into the convolution before it.",
    published=(Published("fusable", "the founding text"),),
    experiment=Computation(measure, seconds=1.0),
    criterion=(
        Bound("largest difference once fused", high=1e-10),
        Bound("departure from an affine map", high=1e-10),
    ),
    tier=0,
    differs="Torch's layers and torch's fusion, float64, random weights and statistics.",
    note=(
        "Affine rather than linear: zero does not stay zero. Only where the norm directly follows a "
        "convolution or linear layer; layer, group and instance norm cannot be fused. Torch does not fuse by "
        "itself."
    ),
)
