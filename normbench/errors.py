"""The errors a user can mend: one line that names the culprit and the remedy, and an exit status."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class NormbenchError(Exception):
    """Something failed while running (exit status 1)."""

    exit_status = 1


class UsageError(NormbenchError, ValueError):
    """The request itself is wrong: a name, a value, a study file (exit status 2)."""

    exit_status = 2


class DataError(NormbenchError):
    """A data file is missing, truncated or not what its name says."""


class RunFolderError(NormbenchError):
    """A run folder cannot be read or written."""


def unknown(kind: str, name: object, known: Iterable[str]) -> str:
    """The sentence for an unknown `name` of some `kind`: nearest known name first, then all of them."""
    names = sorted(known)
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return f"unknown {kind} '{name}': {hint}" + (f"known: {', '.join(names)}" if names else "there is none")
