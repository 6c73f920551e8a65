"""Over what layer and instance norm average."""

from __future__ import annotations

from normbench.findings.finding import Bound, Computation, Finding, Outcome, Published
from normbench.findings.measure import exact
from normbench.norms import facts


def measure() -> Outcome:
    layer, instance = facts("layer"), facts("instance")
    return Outcome(
        exact(
            channels_of_8_that_share_a_statistic_of_layer_norm=layer.channels.of(8),
            images_of_16_that_share_a_statistic_of_layer_norm=layer.images.of(16),
            channels_of_8_that_share_a_statistic_of_instance_norm=instance.channels.of(8),
        )
    )


FINDING = Finding(
    id="S23",
    cite="The founding text (the blog post that normbench started from)",
    claim="Layer norm takes mean and deviation of each channel, and instance norm of each image.",
    published=(Published("LN per channel, IN per image", "the founding text"),),
    experiment=Computation(measure, seconds=1.0),
    criterion=(
        Bound("channels of 8 that share a statistic of layer norm", high=1.5),
        Bound("channels of 8 that share a statistic of instance norm", low=7.5),
    ),
    tier=0,
    differs="What is measured of the package's norms, which the tests hold against torch's and against the formulas.",
    note=(
        "Layer norm's statistics are of one image, over all its channels; instance norm's of one image and one channel."
    ),
)
