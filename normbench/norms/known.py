"""What was measured, kept: of the built-in norms in `catalogue.json`, so that a study is planned without torch.

`python -m normbench.norms.catalogue` writes that file anew. It carries a digest of the files that define the norms
and measure them; where these have changed, and for options that it does not have, norms are measured when they are
first asked for.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import typing
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from normbench import environ
from normbench.errors import UsageError
from normbench.norms.claims import check_claims
from normbench.norms.contract import BranchRule
from normbench.norms.facts import Facts
from normbench.spec import marks as spec_marks
from normbench.spec import values as spec_values
from normbench.spec.neighbours import digest_of, own_files
from normbench.spec.registry import NORMS, Deferred, Entry, Option

HERE = Path(__file__).parent
FILE = HERE / "catalogue.json"
# Modules that register the built-in norms; they import torch.
FAMILIES = (
    "none",
    "batch",
    "group",
    "channel",
    "partial",
    "squash",
    "renorm",
    "mixed",
    "whiten",
    "fused",
    "online",
    "weights",
    "branches",
)
MEASURED_WITH = ("running", "registry", "facts", "claims", "contract", "trial", "simulated", "response", "measure")


class Measured:
    """`entry.facts["measured"]` of a norm: its facts for given options, measured once.

    Args:
        name: The norm.
        source: The file that defines it.
    """

    def __init__(self, name: str, source: str) -> None:
        self.name = name
        # A built-in norm is registered twice, first by the catalogue and then by its class: both know the same.
        own = Path(source).parent == HERE
        self.known: dict[str, Facts] = _builtin_facts().setdefault(name, {}) if own else {}

    def __call__(self, options: Mapping[str, Any]) -> Facts:
        entry = NORMS.get(self.name)
        chosen = entry.chosen(options, "model.norm_options")
        key = options_key(chosen)
        if key not in self.known:
            self.known[key] = measured(entry, chosen)
        return self.known[key]


_handed: dict[tuple[str, str], Facts] = {}  # by name and options: what another process has measured


def to_hand_over(name: str) -> list[tuple[str, str, Facts]]:
    """Everything this process has measured of a norm, or of each of a compound's parts: see `take_over`."""
    entry = NORMS.get(name)
    return [
        (part.name, key, facts)
        for part in entry.facts.get("parts", (entry,))
        for key, facts in part.facts["measured"].known.items()
    ]


def take_over(measured_elsewhere: Iterable[tuple[str, str, Facts]]) -> None:
    """Keeps what `to_hand_over` gave in another process, for when this one is connected and can measure nothing."""
    _handed.update({(name, key): facts for name, key, facts in measured_elsewhere})


def options_key(options: Mapping[str, Any]) -> str:
    """Options as canonical JSON."""
    return json.dumps(options, sort_keys=True, default=str)


def measured(entry: Entry, options: Mapping[str, Any]) -> Facts:
    """Facts from the user's cache, or measured now and held against the author's claims.

    A user's own norm may lean on files that the digest does not see: it is measured in every process, and read from
    the cache only where processes are connected already and were handed nothing by the one that started them.
    """
    if _connected() and (handed := _handed.get((entry.name, options_key(options)))):
        return handed
    file = _cache_file(entry, options)
    if file and (isinstance(entry.build, Deferred) or _connected()):
        with suppress(OSError, ValueError, TypeError, KeyError):
            return Facts.from_dict(json.loads(file.read_text(encoding="utf-8")))
    if _connected():
        raise UsageError(
            f"norm '{entry.name}' was not measured yet, which takes a process that is not connected to others: call "
            f"normbench.norms.facts({entry.name!r}, {dict(options)!r}) before the Trainer, or the process group, starts"
        )
    from normbench.norms.measure import channel_counts, measure

    if isinstance(entry.build, Deferred):
        entry.build.load()  # registers the class in place of what the catalogue told of it
        entry = NORMS.get(entry.name)
    found = measure(entry, options)
    check_claims(entry, entry.facts["claims"], found, options, channel_counts(options))
    if file:
        _keep(found, file)
    return found


def _keep(found: Facts, file: Path) -> None:
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(f".{os.getpid()}")
        partial.write_text(json.dumps(found.to_dict()), encoding="utf-8")
        partial.replace(file)


def _connected() -> bool:
    torch = sys.modules.get("torch")
    return bool(torch and torch.distributed.is_available() and torch.distributed.is_initialized())


def _cache_file(entry: Entry, options: Mapping[str, Any]) -> Path | None:
    if (folder := environ.cache_folder("norms")) is None:
        return None
    try:
        source = digest_of(own_files(Path(entry.source))).encode() if entry.source else b""
    except (OSError, UsageError):
        source = b""
    parts = (digest().encode(), source, entry.name.encode(), options_key(options).encode())
    key = hashlib.sha256(b"\0".join(parts)).hexdigest()[:24]
    return folder / f"{key}.json"


@cache
def digest() -> str:
    """A digest of the files that define the built-in norms and measure them."""
    texts = [(HERE / f"{name}.py").read_text(encoding="utf-8") for name in (*FAMILIES, *MEASURED_WITH)]
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


@cache
def _catalogue() -> Mapping[str, Any]:
    """What the catalogue says of each built-in norm; nothing where it is out of date."""
    try:
        told = json.loads(FILE.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return told["norms"] if told.get("digest") == digest() else {}


@cache
def _builtin_facts() -> dict[str, dict[str, Facts]]:
    return {
        name: {item["key"]: Facts.from_dict(item["facts"]) for item in told["facts"]}
        for name, told in _catalogue().items()
    }


def register_builtin() -> None:
    """Registers the built-in norms: from the catalogue, or where it is out of date by importing them."""
    if not _catalogue():
        for family in FAMILIES:
            import_module(f"normbench.norms.{family}")
    for name, told in _catalogue().items():
        NORMS.add(_entry(name, told))


def _entry(name: str, told: Mapping[str, Any]) -> Entry:
    build = Deferred(f"normbench.norms.{told['module']}", told["class"])
    options = {
        key: Option(key, _type(option["type"]), option["default"], option["help"])
        for key, option in told["options"].items()
    }
    source = str(HERE / f"{told['module']}.py")
    handed = told["handed"]
    facts: dict[str, Any] = {
        "claims": {},
        "handed": handed,
        "virtual": "virtual_devices" in handed,
        "measured": Measured(name, source),
    }
    if told.get("weights"):
        facts["weights"] = told["weights"]
    if told.get("branch"):
        facts["branch"] = BranchRule(**told["branch"])
    return Entry(name, build, options, told["summary"], source, facts)


def _type(text: str) -> Any:
    """An annotation that a norm's file wrote: `Momentum | None`."""
    return eval(text, vars(typing) | vars(spec_values) | vars(spec_marks))  # our own file's text
