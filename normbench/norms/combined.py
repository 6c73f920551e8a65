"""`group + weight_std`: a norm of the activations with norms of the weights before it. No torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from normbench.errors import UsageError
from normbench.norms.facts import Facts
from normbench.spec.registry import NORMS, Entry

if TYPE_CHECKING:
    from torch import nn


def combined(name: str) -> Entry:
    """The entry of norms joined by `+`, in any order; its name has the norm of the activations first.

    Options of the first are named as they are, those of the others with the norm's name before: `weight_std_eps`.
    Raises UsageError for an unknown norm, one given twice, or two that act on the activations.

    Example:
        >>> combined("weight_std+group").name, list(combined("weight_std+group").options)
        ('group + weight_std', ['groups', 'eps', 'weight_std_eps'])
    """
    parts = [NORMS.get(part.strip()) for part in name.split("+")]
    direct = [part for part in parts if not part.facts.get("weights")]
    names = [part.name for part in parts]
    if len(direct) > 1:
        raise UsageError(
            f"model.norm={name}: '{direct[0].name}' and '{direct[1].name}' both act on activations: join one of them "
            "with norms of weights (weight_norm, weight_std, scaled_weight_std, spectral)"
        )
    if len(set(names)) < len(names):
        raise UsageError(f"model.norm={name}: a norm is given twice")
    first, *others = [*direct, *(part for part in parts if part not in direct)]
    if others and getattr(first.facts.get("branch"), "rescaled", False):
        raise UsageError(
            f"model.norm={name}: '{first.name}' starts weights at zero, and '{others[0].name}' divides by their size: "
            f"choose one of them, or skip_init + {others[0].name}"
        )
    options = dict(first.options)
    for other in others:
        for key, option in other.options.items():
            own = f"{other.name}_{key}"
            if own in options:
                raise UsageError(f"model.norm={name}: two options would be called '{own}'")
            options[own] = dataclasses.replace(option, name=own)
    joined = " + ".join(part.name for part in (first, *others))
    build = _Build(first, others)
    facts = {**first.facts, "measured": build.facts, "parts": (first, *others), "claims": {}}
    summary = "; ".join(part.summary for part in (first, *others))
    return Entry(joined, build, options, summary, first.source, facts)


class _Build:
    """Makes the module, and tells the facts, of norms that were joined."""

    def __init__(self, first: Entry, others: Sequence[Entry]) -> None:
        self.first, self.others = first, others

    def divided(self, options: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The options of each norm."""
        parts = [{key: value for key, value in options.items() if key in self.first.options}]
        for other in self.others:
            own = {f"{other.name}_{key}": key for key in other.options}
            parts.append({own[key]: value for key, value in options.items() if key in own})
        return parts

    def __call__(self, num_channels: int, **options: Any) -> nn.Module:
        from normbench.norms.weights import Combined

        handed = {key: value for key, value in options.items() if key in self.first.facts["handed"]}
        mine, *theirs = self.divided(options)
        norm = self.first.build(num_channels, **handed, **mine)
        each = zip(self.others, theirs, strict=True)
        return Combined(norm, [other.build(num_channels, **chosen) for other, chosen in each])

    def facts(self, options: Mapping[str, Any]) -> Facts:
        """Those of the norm of the activations, with the parameters of all."""
        mine, *theirs = self.divided(options)
        found: Facts = self.first.facts["measured"](mine)
        for other, chosen in zip(self.others, theirs, strict=True):
            more: Facts = other.facts["measured"](chosen)
            found = dataclasses.replace(
                found,
                norm=f"{found.norm} + {more.norm}",
                gamma=found.gamma + more.gamma,
                other_parameters=found.other_parameters + more.other_parameters,
            )
        return found
