"""Writes `catalogue.json` anew: `python -m normbench.norms.catalogue`. See `known`, which reads it."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from dataclasses import asdict
from importlib import import_module
from typing import Any

from normbench.norms.known import FAMILIES, FILE, digest, options_key
from normbench.norms.measure import measure
from normbench.spec.registry import NORMS, Entry

SEVERAL: dict[str, list[dict[str, Any]]] = {  # options that studies vary, besides the defaults
    "group": [{"groups": groups} for groups in (1, 2, 4, 16, 32)],
    "evonorm_s0": [{"groups": groups} for groups in (1, 2, 4, 16, 32)],
    "ghost": [{"size": size} for size in (1, 2, 4, 8, 32, 64)],
}


def written() -> str:
    """The text of `catalogue.json`, measured now."""
    norms = {entry.name: _told(entry, family) for family in FAMILIES for entry in _entries(family)}
    return json.dumps({"digest": digest(), "norms": norms}, indent=1) + "\n"


def _entries(family: str) -> Iterator[Entry]:
    module = import_module(f"normbench.norms.{family}")
    for entry in map(NORMS.get, NORMS):
        if entry.build.__module__ == module.__name__:
            yield entry


def _told(entry: Entry, family: str) -> dict[str, Any]:
    annotations = {key: str(p.annotation) for key, p in inspect.signature(entry.build).parameters.items()}
    all_options = [entry.chosen(given, "model.norm_options") for given in ({}, *SEVERAL.get(entry.name, []))]
    return {
        "module": family,
        "class": entry.build.__name__,
        "summary": entry.summary,
        **({"weights": entry.facts["weights"]} if entry.facts.get("weights") else {}),
        **({"branch": asdict(entry.facts["branch"])} if entry.facts.get("branch") else {}),
        "handed": list(entry.facts["handed"]),
        "options": {
            key: {"type": annotations[key], "default": option.default, "help": option.help}
            for key, option in entry.options.items()
        },
        "facts": [{"key": options_key(o), "facts": measure(entry, o).to_dict()} for o in all_options],
    }


def main() -> None:
    """Measures the built-in norms and writes the catalogue."""
    FILE.write_text(written(), encoding="utf-8")


if __name__ == "__main__":
    main()
