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


def nearest(name: object, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The word that is most like `name`, capitals or not; None where none is.

    Example:
        >>> nearest("MNIST", ["mnist", "kmnist"]), nearest("x", ["mnist"])
        ('mnist', None)
    """
    words = {word.lower(): word for word in known}
    near = difflib.get_close_matches(str(name).lower(), words, n=1, cutoff=cutoff)
    return words[near[0]] if near else None


def unknown(kind: str, name: object, known: Iterable[str]) -> str:
    """The sentence for an unknown `name` of some `kind`: nearest known name first, then all of them."""
    names = sorted(known)
    near = nearest(name, names, 0.5)
    hint = f"did you mean '{near}'? " if near else ""
    return f"unknown {kind} '{name}': {hint}" + (f"known: {', '.join(names)}" if names else "there is none")
