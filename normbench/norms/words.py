"""What is measured of a norm, in words. No torch."""

from __future__ import annotations

from normbench.norms.facts import Facts


def shared_axes(facts: Facts) -> str:
    """What one statistic is taken over.

    Example:
        >>> from normbench.norms import facts
        >>> shared_axes(facts("ghost")), shared_axes(facts("group")), shared_axes(facts("none"))
        ('(16 of N, H, W)', '(C/8, H, W)', 'nothing')
    """
    if not facts.has_statistics:
        return "nothing"
    words = []
    for letter, extent in (("N", facts.images), ("C", facts.channels), ("H, W", facts.positions)):
        many = {"all": letter, "fixed": f"{extent.number} of {letter}", "parts": f"{letter}/{extent.number}"}
        words += [many[extent.rule]] if extent.rule != "one" else []
    return f"({', '.join(words)})" + (", all devices" if facts.devices else "")
