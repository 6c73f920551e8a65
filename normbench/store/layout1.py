"""Configurations of version 0.1 (layout 1): how they hashed, and what they are in today's sections."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from normbench.errors import UsageError
from normbench.spec.schema import ALIASES, SECTIONS, hints

LAYOUT = 1

Tree = dict[str, Any]

# Fields that did not enter a run's identity.
_NOT_IDENTITY = frozenset({"data.dir", "data.allow_embedded", "trainer.checkpoints"})
_HASHED = ("data", "model", "optimizer", "budget", "trainer", "seed", "plugins")
# Fields that every optimizer had, and only this one used.
_USED_BY = {"momentum": "sgd"}


def is_layout1(tree: Mapping[str, Any]) -> bool:
    """Whether a configuration was written by version 0.1, in which one class had the fields of all models."""
    model = tree.get("model")
    return isinstance(model, Mapping) and isinstance(model.get("options"), Mapping) and "channels" in model


def run_id(tree: Mapping[str, Any]) -> str:
    """The id that version 0.1 gave a configuration. Raises UsageError where a plug-in is no longer there.

    Args:
        tree: The configuration as result.json holds it.
    """
    parts = []
    for section in _HASHED:
        value = tree[section]
        if section == "plugins":
            parts.append(json.dumps([_digest(path) for path in value]))
        elif isinstance(value, Mapping):
            kept = {name: item for name, item in value.items() if f"{section}.{name}" not in _NOT_IDENTITY}
            parts.append(json.dumps(kept, sort_keys=True, default=str))
        else:
            parts.append(json.dumps(value))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _digest(path: str) -> str:
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]
    except OSError as error:
        raise UsageError(f"plugin {path}: {error.strerror}") from None


def converted(tree: Mapping[str, Any], device: str) -> Tree | str:
    """A configuration of layout 1 in today's sections, for `spec.from_dict`; or why it has no counterpart.

    Fields that are null go; the options of a model stand beside its own keys; what the chosen optimizer did not use
    goes; `auto` becomes the device that the run had.

    Args:
        tree: The configuration as result.json holds it.
        device: What result.json names as the device: cpu, mps, or the name of a GPU.
    """
    if not is_layout1(tree):
        return "its configuration is not one of version 0.1"
    new: Tree = {}
    for section in SECTIONS:
        new[section] = {name: value for name, value in tree.get(section, {}).items() if value is not None}
    model, options = new["model"], new["model"].pop("options")
    if twice := sorted(options.keys() & (model.keys() | hints("model").keys())):
        return f"model.options.{twice[0]} has the name of a key of its own"
    new["model"] = model | options
    optimizer = new["optimizer"]
    for name, used in _USED_BY.items():
        if optimizer.get("name") != used:
            optimizer.pop(name, None)
    optimizer["decay_norms"] = True  # it let everything decay
    trainer = new["trainer"]
    trainer["accelerator"] = device if device in {"cpu", "mps"} else "cuda"
    trainer["precision"] = ALIASES["trainer.precision"].get(trainer["precision"], trainer["precision"])
    for section in ("budget", "trainer", "logger"):  # these have no options of a builder's own
        unknown = sorted(new[section].keys() - hints(section).keys())
        if unknown and section != "logger":
            return f"{section}.{unknown[0]} is not a key any more"
        for name in unknown:
            del new[section][name]
    return new | {"seed": tree["seed"], "plugins": list(tree.get("plugins") or []), "probes": {}}
