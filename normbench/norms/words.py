"""What is measured of a norm, in words. No torch."""

from __future__ import annotations

from collections.abc import Sequence

from normbench.norms.facts import Extent, Facts


def shared_axes(facts: Facts) -> str:
    """What one statistic is taken over.

    Example:
        >>> from normbench.norms import facts
        >>> shared_axes(facts("ghost")), shared_axes(facts("group")), shared_axes(facts("none"))
        ('(16 of N, H, W)', '(C/8, H, W)', 'nothing')
        >>> shared_axes(facts("online_norm"))  # of the images before, in earlier batches too
        '(past N, H, W)'
    """
    if not facts.has_statistics:
        return "nothing"
    parts = [(facts.images, facts.channels, facts.positions), *([facts.within] if facts.within else [])]
    return " and ".join(map(_axes, parts)) + (", all devices" if facts.devices else "")


def _axes(extents: Sequence[Extent]) -> str:
    words = []
    for letter, extent in zip(("N", "C", "H, W"), extents, strict=True):
        many = {
            "all": letter,
            "past": f"past {letter}",
            "fixed": f"{extent.number} of {letter}",
            "parts": f"{letter}/{extent.number}",
        }
        words += [many[extent.rule]] if extent.rule != "one" else []
    return f"({', '.join(words)})"
