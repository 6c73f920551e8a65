"""Decoded images in the user's cache, mapped rather than read, so that processes of one machine share one copy."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from normbench import environ

Arrays = Mapping[str, np.ndarray[Any, Any]]


def kept(key: str, make: Callable[[], Arrays]) -> Arrays:
    """The arrays that `make` gives, mapped from the copy that the first call with this key left.

    Without a cache, or one that can be written, they are those of `make` themselves.

    Args:
        key: Name of the copy; another one wherever the arrays would be others.
        make: Decodes them.
    """
    cache = environ.cache_folder("data")
    if cache is None:
        return make()
    folder = cache / "decoded" / key
    if found := _mapped(folder):
        return found
    arrays = make()
    _write(folder, arrays)
    return _mapped(folder) or arrays


def _mapped(folder: Path) -> Arrays:
    """The arrays of a copy, copy on write (torch warns of arrays that cannot be written); {} where there is none."""
    with suppress(OSError, ValueError, EOFError):
        return {path.stem: np.load(path, mmap_mode="c") for path in sorted(folder.glob("*.npy"))}
    return {}


def _write(folder: Path, arrays: Arrays) -> None:
    """Writes all arrays or none. A cache that cannot be written is no fault."""
    with suppress(OSError):
        folder.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".decoded-", dir=folder.parent))
        try:
            for name, array in arrays.items():
                np.save(staging / f"{name}.npy", array)
            staging.replace(folder)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
