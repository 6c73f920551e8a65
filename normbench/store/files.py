"""Files that are whole or not there, and what an interrupted step leaves behind."""

from __future__ import annotations

import errno
import itertools
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

from normbench.errors import RunFolderError

_counter = itertools.count()
# A temporary file says which process writes it, so that one whose writer is dead is known for a leftover.
_TEMPORARY = re.compile(r"\..+\.(\d+)-\d+\.tmp")
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # of a disk, a quota, a limit of the process
_STALE_SECONDS = 600.0  # another machine's process looks dead from here: its file of just now is left alone


def unwritable(path: Path, error: OSError) -> RunFolderError:
    """The one line for a file or a folder that cannot be written: what is in the way, and what can be done about it."""
    # Path.is_file raises where a folder may not be looked into.
    file = next((place for place in path.parents if os.path.isfile(place)), None)  # noqa: PTH113
    if file:
        reason = f"{file} is a file; move it away or "
    elif isinstance(error, FileExistsError | IsADirectoryError):
        kind = "file" if isinstance(error, FileExistsError) else "folder"
        reason = f"a {kind} has that name; move it away or "
    else:
        reason = f"{error.strerror}; {'free some space or ' if error.errno in _NO_ROOM else ''}"
    return RunFolderError(f"cannot write {path}: {reason}name another folder (--runs, --reports)")


def make_folder(path: Path) -> None:
    """Creates a folder, or raises RunFolderError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        if not os.access(path, os.W_OK):
            raise PermissionError(13, "Permission denied")
    except OSError as error:
        raise unwritable(path, error) from None


def temporary(path: Path) -> Path:
    """A name beside `path` that no other process and no other call uses."""
    return path.with_name(f".{path.name}.{os.getpid()}-{next(_counter)}.tmp")


def replace_file(path: Path, write: Callable[[Path], None]) -> None:
    """Lets `write` fill a temporary file, which then takes the place of `path`, on the disk and not only in memory.

    Raises OSError where it cannot; `path` is then as it was, and no temporary file stays.
    """
    fresh = temporary(path)
    try:
        write(fresh)
        with fresh.open("rb") as file:
            os.fsync(file.fileno())
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


def write_atomically(path: Path, text: str) -> None:
    """Writes `text` so that `path` is either as it was or whole. Raises RunFolderError where it cannot."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, lambda fresh: _write_text(fresh, text))
    except OSError as error:
        raise unwritable(path, error) from None


def _write_text(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write(text)


def remove_leftovers(folder: Path, owned: bool = False) -> None:
    """Removes temporary files of processes that are gone.

    Args:
        folder: Where to look, not below it.
        owned: Nobody else writes here (the caller holds the lock), so age does not matter.
    """
    try:
        names = [entry.name for entry in os.scandir(folder) if entry.name.endswith((".tmp", ".new"))]
    except OSError:
        return
    for name in names:
        path, match = folder / name, _TEMPORARY.fullmatch(name)
        try:
            if match is None:
                # An unfinished checkpoint: `checkpoint.ckpt.new`. Anything else of that name is not ours.
                gone = owned and name == "checkpoint.ckpt.new"
            else:
                import psutil

                old = time.time() - path.stat().st_mtime > _STALE_SECONDS
                gone = (owned or old) and not psutil.pid_exists(int(match[1]))
            if gone:
                path.unlink()
        except OSError:
            continue  # removed by another process, or not ours to remove: it disturbs nobody
