"""What the keys of a configuration say of a run's identity."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


class NotIdentity:
    """Marks a key that cannot change a result, and so does not enter a run's identity."""


@dataclass(frozen=True, eq=False)
class LeftOutAt:
    """Marks a key that was added later: at this value it is left out of the identity, so that old ids stay valid."""

    value: Any


@dataclass(frozen=True, eq=False)
class UsedWhen:
    """Marks a key that counts only where `test` holds for its section."""

    test: Callable[[Any], bool]


NOT_IDENTITY = NotIdentity()


def marks_of(hint: Any) -> tuple[Any, ...]:
    """What the annotation of a key or option is marked with."""
    return getattr(hint, "__metadata__", ())
