"""A run's identity: a hash of everything that can change its result, and of nothing else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from normbench.errors import UsageError
from normbench.spec.keys import from_dict
from normbench.spec.marks import LeftOutAt, NotIdentity, UsedWhen, marks_of
from normbench.spec.neighbours import digest_of, own_files
from normbench.spec.registry import CALLBACKS, DATASETS, MODELS, NORMS, OPTIMIZERS, REQUIRED, Entry
from normbench.spec.schema import SECTIONS, RunConfig, has_options, hints

# Sections in the order in which they enter the hash; `logger` and `probes` cannot change a result.
HASHED = ("data", "model", "optimizer", "budget", "trainer", "seed", "plugins")


def counted_in_identity(section: str, values: Any) -> dict[str, Any]:
    """The keys of one resolved section that can change a result, with their values."""
    kept: dict[str, Any] = {}
    for name, hint in hints(section).items():
        value = getattr(values, name)
        marks = marks_of(hint)
        if any(isinstance(mark, NotIdentity) for mark in marks):
            continue
        if any(isinstance(mark, LeftOutAt) and mark.value == value for mark in marks):
            continue
        if any(isinstance(mark, UsedWhen) and not mark.test(values) for mark in marks):
            continue
        kept[name] = dict(value) if isinstance(value, Mapping) else value
    if has_options(section):
        kept.update(_options_in_identity(_entry(section, values), values.options))
    if section == "model" and values.norm is not None:
        kept["norm_options"] = _options_in_identity(NORMS.get(values.norm), values.norm_options)
    return kept


def _options_in_identity(entry: Entry, values: Mapping[str, Any]) -> dict[str, Any]:
    kept = {}
    for name, given in values.items():
        option, value = entry.options[name], given
        marks = marks_of(option.hint)
        if any(isinstance(mark, NotIdentity) for mark in marks):
            if option.default is REQUIRED:
                continue
            value = option.default  # as which it was counted before the mark was read here
        if not any(isinstance(mark, LeftOutAt) and mark.value == value for mark in marks):
            kept[name] = value
    return kept


def _entry(section: str, values: Any) -> Entry:
    return {"data": DATASETS, "model": MODELS, "optimizer": OPTIMIZERS}[section].get(values.name)


def plugins_in_identity(config: RunConfig) -> list[str]:
    """Digests of the plug-in files that define something that the run uses: edited code makes new runs."""
    used = [MODELS.get(config.model.name), DATASETS.get(config.data.name), OPTIMIZERS.get(config.optimizer.name)]
    if config.model.norm:
        norm = NORMS.get(config.model.norm)
        used += [norm, *norm.facts.get("parts", ())]
    used += [CALLBACKS.get(name) for name in config.trainer.callbacks]
    sources = {entry.source for entry in used}
    return sorted(file_digest(path) for path in config.plugins if str(Path(path).expanduser().resolve()) in sources)


@cache
def file_digest(path: str) -> str:
    """Sixteen hexadecimal digits of a plug-in's content, and of that of the modules beside it that it imports."""
    try:
        return digest_of(own_files(Path(path)))
    except OSError as error:
        raise UsageError(f"plugin {path}: {error.strerror}; give a path that exists") from None


def section_identity(section: str, config: RunConfig) -> str:
    """The part of a run's identity that one section of its resolved configuration decides, as canonical JSON."""
    if section == "plugins":
        value: Any = plugins_in_identity(config)
    elif section in SECTIONS:
        value = counted_in_identity(section, getattr(config, section))
        if section == "data" and (digest := DATASETS.get(config.data.name).facts["facts"](config.data).digest):
            value["digest"] = digest  # of images that a user's file or function gives
    else:
        value = getattr(config, section)
    return json.dumps(value, sort_keys=True, default=str)


def run_id(config: RunConfig) -> str:
    """Sixteen hexadecimal digits that stand for everything that a resolved configuration uses."""
    return identity_hash(section_identity(section, config) for section in HASHED)


def identity_hash(parts: Iterable[str]) -> str:
    """The hash of the canonical JSON of the HASHED sections."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def identity_tree(config: RunConfig) -> dict[str, Any]:
    """What enters the identity, by section."""
    return {section: json.loads(section_identity(section, config)) for section in HASHED}


class StoredIds:
    """The ids of stored configurations: `run_id(from_dict(tree))`, each distinct section checked once.

    Ten thousand runs of a study differ in few sections, and checking a configuration takes a millisecond.
    """

    def __init__(self) -> None:
        self._parts: dict[str, str] = {}

    def of(self, tree: Mapping[str, Any]) -> str:
        """The id of a configuration as `to_dict` gives it. Raises UsageError for one that cannot be read."""
        if tree.get("plugins"):  # what they register may change what the other sections mean
            return run_id(from_dict(tree))
        rest = {key: value for key, value in tree.items() if key not in HASHED}
        self._part("", rest)
        return identity_hash(self._part(name, {name: tree[name]} if name in tree else {}) for name in HASHED)

    def _part(self, section: str, tree: Mapping[str, Any]) -> str:
        key = section + json.dumps(tree)
        if key not in self._parts:
            config = from_dict(tree)
            self._parts[key] = section_identity(section, config) if section else ""
        return self._parts[key]
