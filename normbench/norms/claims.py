"""What an author says of a norm, held against what is measured of it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from normbench.errors import UsageError
from normbench.norms.facts import Facts
from normbench.spec.registry import Entry

SCOPES = ("none", "sample", "past", "device", "global")
CLAIMS = ("axes", "scope", "same_in_eval", "cancels_bias", "linear")


def scope(facts: Facts) -> str:
    """Over which images a statistic is taken: none, sample, past (of a device), device (all of its batch) or global."""
    if not facts.has_statistics:
        return "none"
    if facts.devices:
        return "global"
    return {"one": "sample", "past": "past"}.get(facts.images.rule, "device")


def axes(facts: Facts) -> str:
    """The axes of an image that share a statistic: "(C, H, W)"; "nothing" without statistics."""
    reach = {"N": facts.images, "C": facts.channels, "H, W": facts.positions}
    shared = [axis for axis, extent in reach.items() if extent.rule != "one"]
    return f"({', '.join(shared)})" if shared else "nothing"


def check_claims(
    entry: Entry, claims: Mapping[str, Any], facts: Facts, options: Mapping[str, Any], channels: Sequence[int]
) -> None:
    """Raises UsageError that names the first claim that the measurement does not bear out.

    Args:
        entry: The norm. Options other than its defaults may narrow the axes and the scope (a ghost batch of one image),
            but not widen them.
        claims: As `register_norm` took them.
        facts: What was measured.
        options: The options it was measured with.
        channels: Numbers of channels it was measured on.
    """
    counts = [count for count in channels if not facts.channels.parts or not count % facts.channels.parts]
    changed = {key: options[key] for key, option in entry.options.items() if options[key] != option.default}
    for claim, claimed in claims.items():
        measured = _contradiction(claim, claimed, facts, options, counts, not changed)
        if measured is not None:
            given = f" with {', '.join(f'{key}={value}' for key, value in changed.items())}" if changed else ""
            other = "choose other options, " if changed else ""
            raise UsageError(
                f"norm '{entry.name}' claims {claim}={claim_told(claimed)}, but{given} {measured}: "
                f"{other}correct the claim or leave it out"
            )


def claim_told(claimed: Any) -> str:
    """A claim's value as a reader sees it."""
    return "a function of channels and options" if callable(claimed) else repr(claimed)


def _contradiction(
    claim: str, claimed: Any, facts: Facts, options: Mapping[str, Any], channels: Sequence[int], defaults: bool
) -> str | None:
    """What was measured, where it is not what is claimed."""
    if claim == "axes":
        return _other_axes(claimed, facts, defaults)
    if claim == "scope":
        return _other_scope(claimed, facts, defaults)
    if claim == "same_in_eval" and claimed != facts.same_in_eval:
        return f"evaluation computes {'the same' if facts.same_in_eval else 'another function'}"
    if claim == "linear" and claimed and "vector" not in facts.layouts:
        return "it refuses inputs (N, C)"
    return _other_bias(claimed, facts, options, channels) if claim == "cancels_bias" else None


def _other_axes(claimed: str, facts: Facts, defaults: bool) -> str | None:
    letters = set(re.findall(r"\b[NCHWL]\b", claimed))
    if not letters and claimed != "nothing":
        return None  # in words of the author's own: nothing to hold it against
    said = {"P" if letter in "HWL" else letter for letter in letters}
    found = {"P" if letter in "HW" else letter for letter in re.findall(r"\b[NCHW]\b", axes(facts))}
    right = said == found if defaults else said >= found
    return None if right else f"values share a statistic over {axes(facts)}"


def _other_scope(claimed: str, facts: Facts, defaults: bool) -> str | None:
    if claimed not in SCOPES:
        return f"a scope is one of {', '.join(SCOPES)}"
    narrower = not defaults and SCOPES.index(scope(facts)) < SCOPES.index(claimed)
    return None if narrower or claimed == scope(facts) else f"its scope is measured as {scope(facts)!r}"


def _other_bias(claimed: Any, facts: Facts, options: Mapping[str, Any], channels: Sequence[int]) -> str | None:
    # One channel is a special case of many norms: a plain True or False speaks of more.
    for count in channels if callable(claimed) else [count for count in channels if count > 1]:
        said = claimed(count, options) if callable(claimed) else claimed
        if said and not facts.cancels_bias(count):
            return f"a bias on {count} channels before it changes its output"
        if not said and facts.cancels_bias(count) and (callable(claimed) or count == max(channels)):
            return f"a bias on {count} channels before it has no effect"
    return None
