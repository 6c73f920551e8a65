"""A bias before other norms."""

from __future__ import annotations

from normbench.findings.finding import Bound, Computation, Finding, Outcome, Published
from normbench.findings.measure import exact, largest, norm, normal


def measure() -> Outcome:
    import torch

    x, bias = normal(16, 8, 6, 6), normal(8, name="b").view(1, 8, 1, 1)

    def change(name: str, **options: int) -> float:
        layer = norm(name, 8, **options)
        return largest(layer(x + bias) - layer(x))

    rms = torch.nn.functional.rms_norm
    return Outcome(
        exact(
            change_with_instance_norm=change("instance"),
            change_with_8_groups=change("group", groups=8),
            change_with_2_groups=change("group", groups=2),
            change_with_layer_norm=change("layer"),
            change_with_rms_norm=largest(rms(x + bias, (8, 6, 6)) - rms(x, (8, 6, 6))),
        )
    )


FINDING = Finding(
    id="S15",
    cite="The founding text (the blog post that normbench started from)",
    claim="What holds for a bias before batch norm holds before instance norm, but not before layer and group norm.",
    published=(Published("the text says it of batch norm alone", "the founding text"),),
    experiment=Computation(measure, seconds=1.0),
    criterion=(
        Bound("change with instance norm", high=1e-10),
        Bound("change with 8 groups", high=1e-10),
        Bound("change with 2 groups", low=1e-2),
        Bound("change with layer norm", low=1e-2),
    ),
    tier=0,
    differs="8 channels, float64, biases of standard deviation 1.",
    note="They subtract a mean over several channels, not each channel's own.",
)
