"""Group norm between layer and instance norm."""

from __future__ import annotations

from normbench.findings.finding import Bound, Computation, Finding, Outcome, Published
from normbench.findings.measure import exact, largest, normal


def measure() -> Outcome:
    from torch import nn

    from normbench.norms import build_norm

    x = normal(4, 8, 5, 5)

    def plain(name: str, **options: int) -> nn.Module:
        return build_norm(name, 8, **options).double()

    return Outcome(
        exact(
            difference_from_layer_norm=largest(plain("group", groups=1)(x) - plain("layer")(x)),
            difference_from_instance_norm=largest(plain("group", groups=8)(x) - plain("instance")(x)),
            parameters_of_group_norm=sum(p.numel() for p in nn.GroupNorm(1, 8).parameters()),
            parameters_of_torch_layer_norm=sum(p.numel() for p in nn.LayerNorm([8, 5, 5]).parameters()),
        )
    )


FINDING = Finding(
    id="S25",
    cite="The founding text (the blog post that normbench started from)",
    claim="Group norm with one group is layer norm, and with as many groups as channels instance norm.",
    published=(Published("GN lies between LN and IN", "the founding text"),),
    experiment=Computation(measure, seconds=1.0),
    criterion=(
        Bound("difference from layer norm", high=1e-10),
        Bound("difference from instance norm", high=1e-10),
    ),
    tier=0,
    differs="8 channels, float64, layer norm over channels and positions.",
    note=(
        "Torch's LayerNorm([C, H, W]) has a gain for each position and is another layer. That group norm is "
        "commonly used with group convolutions, as the text has it, was found in no source; Wu & He give "
        "small batches as the motive."
    ),
)
