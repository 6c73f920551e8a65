"""The contract of a norm, tried on the norm: what has to hold of a layer before a study of it means something.

One piece of code: the tests run it over the registry, and `normbench norms check` over anybody's layer.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from normbench.errors import UsageError
from normbench.norms.claims import check_claims, claim_told
from normbench.norms.facts import Facts
from normbench.norms.invariance import scale_invariant, shift_invariant
from normbench.norms.measure import channel_counts, measure
from normbench.norms.points import CONTRACT, kept
from normbench.norms.subject import first_parameter, registered
from normbench.norms.trial import Trial
from normbench.norms.words import shared_axes
from normbench.spec.registry import Entry


@dataclass(frozen=True)
class Finding:
    """One line of a check.

    Args:
        subject: What was looked at.
        holds: Whether the contract holds there; None for a fact, which may be either way.
        told: What was found.
    """

    subject: str
    holds: bool | None
    told: str


def holds(findings: list[Finding]) -> bool:
    """Whether the whole contract holds."""
    return all(finding.holds is not False for finding in findings)


def check(entry: Entry, options: Mapping[str, Any] | None = None) -> list[Finding]:
    """Tries a norm on inputs (N, C), (N, C, L) and (N, C, H, W) on a CPU. Torch's random state stays as it was.

    Args:
        entry: The norm.
        options: Its options; what is left out takes its default. Unknown ones raise UsageError.

    Example:
        >>> from normbench.norms import NORMS
        >>> findings = check(NORMS.get("layer"))
        >>> holds(findings), [finding.told for finding in findings if finding.subject == "averages over"]
        (True, ['(C, H, W)'])
    """
    chosen = entry.chosen(options or {}, "model.norm_options")
    with torch.random.fork_rng(devices=[]), torch.device("cpu"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return list(_findings(entry, chosen))


def _findings(entry: Entry, options: Mapping[str, Any]) -> Iterator[Finding]:
    if not registered(entry):
        first = first_parameter(entry.build)
        named = "" if first == "num_channels" else f", and call its first parameter num_channels, not {first or 'none'}"
        yield Finding("in a study", None, f'no: put @register_norm("{entry.name.lower()}") above it{named}')
    try:
        facts = measure(entry, options)
        trial = Trial(entry, options, facts)
    except UsageError as error:
        yield Finding("shapes", False, str(error))
        return
    except Exception as error:  # a user's code may raise anything
        yield Finding("shapes", False, f"it cannot be measured: {_line(error)}")
        return
    yield from _facts(trial)
    for subject, found in CONTRACT.items():
        try:
            wrong = found(trial)
        except Exception as error:  # a user's code may raise anything
            wrong = _line(error)
        yield Finding(subject, not wrong, wrong or kept(subject, trial))
    for claim, claimed in entry.facts["claims"].items():
        yield _claim(trial, claim, claimed)


def _facts(trial: Trial) -> Iterator[Finding]:
    """What is measured, which may be either way."""
    facts = trial.facts
    images = {
        "one": "no other image",
        "past": "those before it",
        "all": "every image of its device",
        "fixed": f"{facts.images.number} images",
    }
    mates = images.get(facts.images.rule, f"one of {facts.images.number} parts of the batch")
    mates = "every image of every device" if facts.devices else mates
    yield Finding("averages over", None, shared_axes(facts))
    yield Finding("batch mates", None, f"in training an image's output depends on {mates}")
    before = "in training its output depends on them too" if facts.remembers else "no matter"
    yield Finding("earlier batches", None, before)
    same = "computes what training does" if facts.same_in_eval else "computes another function than training"
    yield Finding("evaluation", None, same)
    yield Finding("devices", None, _devices(trial))
    for subject, parts in (("a factor", scale_invariant(trial)), ("a shift", shift_invariant(trial))):
        yield Finding(subject, None, f"has no effect on {', '.join(parts)}" if parts else "has an effect")
    yield Finding("a bias before it", None, f"has {_bias(facts)}")
    more = f", and {facts.other_parameters}" if facts.other_parameters else ""
    yield Finding("parameters", None, f"{facts.gamma} a channel{more}")


def _bias(facts: Facts) -> str:
    ways = {"always": "no effect", "never": "an effect", "one channel": "no effect where a statistic has one channel"}
    return ways[facts.bias]


def _devices(trial: Trial) -> str:
    facts = trial.facts
    if facts.devices:
        return "one statistic over all devices together"
    if facts.images.of(4 * trial.images) == 1:
        return "no matter: no other image counts"
    if not trial.entry.facts["virtual"]:
        return "each has its own statistics; it takes no virtual_devices, so one machine cannot play several"
    return "each has its own statistics, and one machine can play several (virtual_devices)"


def _claim(trial: Trial, claim: str, claimed: Any) -> Finding:
    facts, options, entry = trial.facts, trial.options, trial.entry
    try:
        check_claims(entry, {claim: claimed}, facts, options, channel_counts(options))
    except UsageError as error:
        return Finding(f"claims {claim}", False, str(error))
    return Finding(f"claims {claim}", True, claim_told(claimed))


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
