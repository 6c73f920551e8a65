"""Dotted keys: from nested mappings to a configuration, and back. What a file and a command line mean is the same."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from normbench.errors import UsageError, nearest
from normbench.spec.marks import LeftOutAt, marks_of
from normbench.spec.plugins import load_plugins
from normbench.spec.registry import DATASETS, MODELS, OPTIMIZERS, Registry
from normbench.spec.schema import (
    ALIASES,
    FREE,
    SECTIONS,
    TOP,
    BudgetConfig,
    RunConfig,
    Seed,
    has_options,
    hints,
)
from normbench.spec.values import checked

BUILDERS: dict[str, Registry] = {"data": DATASETS, "model": MODELS, "optimizer": OPTIMIZERS}
_TOP_HINTS: dict[str, Any] = {"seed": Seed, "plugins": list[str], "probes": dict[str, dict[str, Any]]}


def fixed_keys() -> list[str]:
    """Every dotted key that all configurations have."""
    return [*(f"{section}.{name}" for section in SECTIONS for name in hints(section)), *TOP]


def option_keys() -> set[str]:
    """Dotted keys of the options of everything that is registered now."""
    return {
        f"{section}.{option}"
        for section, registry in BUILDERS.items()
        for name in registry
        for option in registry.get(name).options
    }


def key_hint(key: str) -> Any:
    """The type of a dotted key's value; Any for an option, which its builder checks. Unknown keys raise UsageError."""
    section, _, name = key.partition(".")
    if key in _TOP_HINTS:
        return _TOP_HINTS[key]
    if section in SECTIONS and not name:
        return dict[str, Any]
    if section in SECTIONS and name in hints(section):
        return hints(section)[name]
    if any(key.startswith(free + ".") for free in FREE) or key in option_keys():
        return Any
    known = [*fixed_keys(), *option_keys()]
    if near := nearest(key, known):
        raise UsageError(f"unknown configuration key '{key}': did you mean '{near}'?")
    valid = [one for one in known if one.startswith(section + ".")] or [*SECTIONS, *TOP]
    raise UsageError(f"unknown configuration key '{key}': known there: {', '.join(sorted(valid))}")


def flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of a nested mapping; a builder's own mapping of options stays whole."""
    for key, value in tree.items():
        dotted = f"{prefix}{key}"
        if isinstance(value, Mapping) and dotted in SECTIONS:
            yield from flatten(value, dotted + ".")
        else:
            yield dotted, value


def typed(values: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """Dotted keys with their values checked against the types of a configuration's own keys, aliases resolved.

    Args:
        values: For example {"optimizer.lr": 0.1}; a section may be given as a nested mapping.
        where: What an error begins with, for example the path of a study.
    """
    found: dict[str, Any] = {}
    prefix = f"{where}: " if where else ""
    for key, value in flatten(values):
        if not isinstance(key, str):
            raise UsageError(f"{prefix}{key!r} is not the name of a key")
        try:
            if key in SECTIONS:
                if value not in (None, {}):
                    raise UsageError(f"{key} is a section of keys, not {value!r}")
                continue
            hint = key_hint(key)
            found[key] = own_value(key, value, hint) if hint is not Any else value
        except UsageError as error:
            raise UsageError(f"{prefix}{error}") from None
    return found


def alias(key: str, value: Any) -> Any:
    """What a short or other word for a value stands for: trainer.precision 32 is 32-true, a list names probes."""
    if key == "probes" and isinstance(value, list) and all(isinstance(probe, str | dict) for probe in value):
        named = [{probe: {}} if isinstance(probe, str) else probe for probe in value]
        return {name: options for probe in named for name, options in probe.items()}
    aliases = ALIASES.get(key, {})
    return aliases.get(value, value) if isinstance(value, str | int) and not isinstance(value, bool) else value


def own_value(key: str, value: Any, hint: Any) -> Any:
    """The checked value of a configuration's own key, aliases resolved; a refusal names the nearest word."""
    try:
        return checked(alias(key, value), hint, key)
    except UsageError as error:
        words = [word for word in ALIASES.get(key, {}) if isinstance(word, str)]
        near = nearest(value, words)
        if not near or "did you mean" in str(error):
            raise
        raise UsageError(f"{error}; did you mean '{near}'?") from None


def run_config(changes: Mapping[str, Any], where: str = "") -> RunConfig:
    """The configuration with these dotted keys (or nested sections) set, everything else at its default.

    Example:
        >>> run_config({"model.norm": "group", "model.norm_options.groups": 4}).model.norm_options
        {'groups': 4}
    """
    return replace(RunConfig(), typed(changes, where))


def from_dict(tree: Mapping[str, Any]) -> RunConfig:
    """The configuration that `to_dict` gave, or a part of it.

    A whole section that lacks a key was written before that key came: it has the value at which ids leave it out. Its
    plug-ins are imported first: another process (a worker, a rank, a later command) does not know the options of what
    they register.
    """
    load_plugins(tuple(tree.get("plugins") or ()))
    return run_config({key: _completed(key, value) for key, value in tree.items()})


def _completed(section: str, values: Any) -> Any:
    if section not in SECTIONS or not isinstance(values, Mapping):
        return values
    later = later_keys(section)
    whole = all(name in values for name in hints(section) if name not in later)
    return {**later, **values} if whole else values


@cache
def later_keys(section: str) -> dict[str, Any]:
    """Keys that came to a section later, with the value that stands for how it was before: see `LeftOutAt`."""
    return {
        name: mark.value
        for name, hint in hints(section).items()
        for mark in marks_of(hint)
        if isinstance(mark, LeftOutAt)
    }


def to_dict(config: RunConfig) -> dict[str, Any]:
    """The configuration as a nested dictionary of plain values; options stand beside their section's own keys."""
    tree = _plain(config)
    for section in SECTIONS:
        if has_options(section):
            tree[section].update(tree[section].pop("options"))
    return tree


def _plain(value: Any) -> Any:
    """As dataclasses.asdict, at a third of the time: plans convert thousands of configurations."""
    kind = type(value)
    if kind in (str, int, float, bool, type(None)):
        return value
    if names := getattr(kind, "__dataclass_fields__", None):
        return {name: _plain(getattr(value, name)) for name in names}
    if kind is dict:
        return {key: _plain(item) for key, item in value.items()}
    return kind(map(_plain, value)) if kind in (list, tuple) else value


def replace(config: RunConfig, changes: Mapping[str, Any]) -> RunConfig:
    """`config` with dotted keys replaced, which `typed` has checked.

    What is replaced is unset: one budget unsets the others, and another norm the options of the norm before it.
    """
    by_section: dict[str, dict[str, Any]] = {}
    top: dict[str, Any] = {}
    for key, value in flatten(changes):
        section, _, name = key.partition(".")
        if section in SECTIONS:
            by_section.setdefault(section, {})[name] = value
        elif name:  # an option of a probe
            probe, _, option = name.partition(".")
            probes = {**top.get(section, getattr(config, section))}
            top[section] = {**probes, probe: {**probes.get(probe, {}), option: value} if option else value}
        else:
            top[section] = value
    for section, values in by_section.items():
        top[section] = _replaced(section, getattr(config, section), values)
    return dataclasses.replace(config, **top) if top else config


def _replaced(section: str, old: Any, values: Mapping[str, Any]) -> Any:
    own: dict[str, Any] = {}
    options: dict[str, Any] = dict(old.options) if has_options(section) else {}
    if section == "model" and old.norm is not None and values.get("norm", old.norm) != old.norm:
        old = dataclasses.replace(old, norm_options={})  # they were another norm's
    for name, value in values.items():
        head, _, option = name.partition(".")
        if head not in hints(section):
            if option:
                options[head] = {**options.get(head, {}), option: value}
            else:
                options[head] = value
        elif option:
            own[head] = {**own.get(head, getattr(old, head)), option: value}
        else:
            own[head] = value
    if section == "budget" and any(value is not None for value in own.values()):
        old = BudgetConfig()
    if has_options(section):
        own["options"] = options
    return dataclasses.replace(old, **own)
