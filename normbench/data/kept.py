"""Decoded images in the user's cache, mapped rather than read, so that processes of one machine share one copy."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from normbench import environ

Arrays = Mapping[str, np.ndarray[Any, Any]]

# Of copies in the cache. The number grows when any decoder gives other arrays, or refuses what it took: copies that an
# earlier version left are not those of this one.
FOLDER = "decoded-2"


def kept(key: str, names: Collection[str], make: Callable[[], Arrays]) -> Arrays:
    """The arrays that `make` gives, mapped from the copy that the first call with this key left.

    Without a cache, or one that can be written, they are those of `make` themselves.

    Args:
        key: Name of the copy; another one wherever the arrays would be others.
        names: Of the arrays.
        make: Decodes them.
    """
    cache = environ.cache_folder("data")
    if cache is None:
        return make()
    folder = cache / FOLDER / key
    if found := _mapped(folder, names):
        return found
    arrays = make()
    _write(folder, {name: arrays[name] for name in names})
    return _mapped(folder, names) or arrays


def _mapped(folder: Path, names: Collection[str]) -> Arrays:
    """The arrays of a copy, copy on write (torch warns of arrays that cannot be written); {} where it is not whole."""
    with suppress(OSError, ValueError, EOFError):
        return {name: np.load(folder / f"{name}.npy", mmap_mode="c") for name in names}
    return {}


def _write(folder: Path, arrays: Arrays) -> None:
    """Writes all arrays or none, in place of a copy that is not whole. A cache that cannot be written is no fault."""
    with suppress(OSError):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _staging(folder) as staging:
            for name, array in arrays.items():
                np.save(staging / f"{name}.npy", array)
            if folder.exists() and not _mapped(folder, arrays):  # a whole one is that of another process
                with _staging(folder) as damaged:
                    folder.replace(damaged / folder.name)
            staging.replace(folder)


@contextmanager
def _staging(folder: Path) -> Iterator[Path]:
    """A folder beside another one, which is removed at the end."""
    found = Path(tempfile.mkdtemp(prefix=".decoded-", dir=folder.parent))
    try:
        yield found
    finally:
        shutil.rmtree(found, ignore_errors=True)
