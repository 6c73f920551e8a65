"""Statistics of so few values that nothing of the input is left: refused for every norm alike. No torch."""

from __future__ import annotations

import warnings

from normbench.errors import UsageError
from normbench.spec.counts import device_batch, devices_together, layers, norm_facts
from normbench.spec.registry import NORMS
from normbench.spec.schema import RunConfig


class DegenerateStatisticWarning(UserWarning):
    """A norm has two values for each of its statistics: what it gives is a sign, and little else."""


def check_statistics(config: RunConfig) -> None:
    """Refuses a norm with one value a statistic, on any site; warns of two. The same rule for every norm."""
    norm = NORMS.get(str(config.model.norm))
    facts = norm_facts(config)
    images = device_batch(config) * devices_together(config)
    virtual = config.trainer.virtual_devices
    if virtual > 1 and not facts.devices and facts.images.of(2 * virtual) > 1 and not norm.facts.get("virtual"):
        raise UsageError(
            f"trainer.virtual_devices={virtual}: norm '{norm.name}' does not compute as that many devices would: "
            "choose real ones (trainer.devices), or norm batch"
        )
    _check_filters(config)
    if not facts.has_statistics:
        return
    if (fixed := facts.images.fixed) and images > fixed and images % fixed:
        raise UsageError(
            f"norm '{norm.name}' takes its statistics from {fixed} images at a time, which does not divide the "
            f"{images} images of a device: choose a divisor of {images}"
        )
    few: list[str] = []
    for layer in layers(config) or []:
        site = layer.site
        if site is None:
            continue
        sentence = facts.sentence(images, site.channels, site.positions, site.layout)
        if sentence is None:
            continue
        without = {"vector": ", or model.norm_linear=false"} if site.role != "logits" else {}
        told = f"{site.name}: {sentence}{without.get(site.layout, '')}"
        if facts.degenerate(images, site.channels, site.positions) == "one":
            raise UsageError(told)
        few.append(told)
    if few:
        more = f" (and on {len(few) - 1} more)" if len(few) > 1 else ""
        warnings.warn(few[0] + more, DegenerateStatisticWarning, stacklevel=2)


def _check_filters(config: RunConfig) -> None:
    """Refuses a norm of weights that leaves nothing of a filter of so few: standardised, a single weight is zero."""
    norm = NORMS.get(str(config.model.norm))
    parts = [part for part in norm.facts.get("parts", (norm,)) if part.facts.get("weights")]
    built = (layers(config) or []) if parts else []  # every cell of a plan comes here: most norms need no look
    for part in parts:
        for layer in built:
            if layer.site is not None and layer.weights // layer.outputs[0] < part.facts["weights"]:
                raise UsageError(
                    f"{layer.name}: norm '{part.name}' has one value for each statistic, since a filter of this layer "
                    "is one weight, so nothing of it is left: choose a larger kernel, more inputs or another norm"
                )
