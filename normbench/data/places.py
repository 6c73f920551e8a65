"""Which folder holds the files: the one that the person named, or the user's cache; and what lies there instead."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from normbench import environ
from normbench.data.idx import FILES, FileSet, missing_files
from normbench.errors import DataError
from normbench.spec.schema import DataConfig

VARIABLE = "NORMBENCH_DATA_DIR"
DEPTH = 3  # folders below the named one that are searched for misplaced files
ENTRIES = 2000  # entries looked at in that search: someone may name a whole disk


@dataclass(frozen=True)
class Place:
    """A folder that has the files or may be filled.

    Args:
        folder: The folder.
        named: What names it, as a user would write it; "" for the user's cache.
    """

    folder: Path
    named: str = ""


def place_of(config: DataConfig) -> Place | None:
    """The one folder that counts: data.dir, else NORMBENCH_DATA_DIR, else the user's cache (None where none can be).

    A folder that is named and lacks the files is a mistake to name, not a reason to look elsewhere.
    """
    for key, folder in (("data.dir", config.dir), (VARIABLE, os.environ.get(VARIABLE))):
        if folder:
            return Place(expanded(folder, key), f"{key}={folder}")
    cache = cache_dir()
    return Place(cache) if cache else None


def cache_dir() -> Path | None:
    """Where downloads go if no folder is named; None where neither XDG_CACHE_HOME nor HOME says where that is."""
    return environ.cache_folder("data")


def expanded(folder: str, key: str) -> Path:
    """`folder` with `~` as the user's home. DataError where there is no home."""
    if (found := environ.expanded(folder)) is None:
        raise DataError(f"{key}={folder}: there is no home folder: set HOME, or write the whole path")
    return found


def raw_folder_of(config: DataConfig, files: FileSet) -> Path | None:
    """The folder with the four files, or None where a download may put them.

    A named folder that has other things than the files raises DataError, saying what lies there and what to do.
    """
    place = place_of(config)
    if place is None:
        return None
    raw = place.folder / files.folder / "raw"
    missing = missing_files(raw)
    if not missing:
        return raw
    if not place.named or _is_empty(place):
        return None
    raise DataError(_difference(place, files, config.name, missing))


def _is_empty(place: Place) -> bool:
    """Whether a named folder has nothing but hidden files. One that cannot be listed raises DataError."""
    try:
        return all(entry.name.startswith(".") for entry in place.folder.iterdir())
    except FileNotFoundError:
        raise DataError(
            f"{place.named} does not exist: correct it, or make it (mkdir -p '{place.folder}') to have the files "
            f"downloaded there{_unset(place)}"
        ) from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(f"{place.named} cannot be read ({reason}): name a folder{_unset(place)}") from None


def _unset(place: Place) -> str:
    key = place.named.partition("=")[0]
    return f", or {'leave out' if key == 'data.dir' else 'unset'} {key}"


def _difference(place: Place, files: FileSet, name: str, missing: list[str]) -> str:
    """One line: what a named folder has instead of the four files of data set `name`, and the remedy."""
    start = f"{place.named} does not have the files of {name} (4 in {files.folder}/raw): "
    if len(missing) < len(FILES):
        return start + _incomplete(place, files, missing[0])
    return start + (_one_level_off(place, files) or _elsewhere(place, files) or _contents(place, files))


def _incomplete(place: Place, files: FileSet, missing: str) -> str:
    raw = place.folder / files.folder / "raw"
    near = next((path.name for path in sorted(raw.iterdir()) if _plain(path.name) == missing), None)
    if near is not None:
        return f"{raw / missing} is missing: rename {near}"
    return f"{raw / missing} is missing, but {raw} has others of the four: add it{_unset(place)}"


def _one_level_off(place: Place, files: FileSet) -> str:
    """Words for a person who named MNIST or MNIST/raw itself; "" otherwise."""
    folder = place.folder.absolute()
    for above in (folder.parent, folder.parent.parent):
        raw = above / files.folder / "raw"
        if folder.is_relative_to(above / files.folder) and not missing_files(raw):
            return f"they are in {raw}: name {above}"
    return ""


def _elsewhere(place: Place, files: FileSet) -> str:
    """Words for files that lie in another folder, or under other names, below the named one; "" for none."""
    raw = place.folder / files.folder / "raw"
    for folder, found in _misplaced(place.folder, files):
        if folder.parts[-2:] == (files.folder, "raw") and not missing_files(folder):
            return f"they are in {folder}: name {folder.parent.parent}"
        if folder == raw:
            return f"{folder} has {found}: rename it to {_plain(found)}, and the others likewise"
        return f"{folder} has {found}: move the four files to {raw}"
    return ""


def _contents(place: Place, files: FileSet) -> str:
    entries = sorted(entry.name for entry in place.folder.iterdir() if not entry.name.startswith("."))
    shown = ", ".join(entries[:5]) + (f" and {len(entries) - 5} more" if len(entries) > 5 else "")
    return f"it has {shown}: name the folder above {files.folder}/raw{_unset(place)}"


def _misplaced(top: Path, files: FileSet) -> Iterator[tuple[Path, str]]:
    """Folders below `top` with a file that is named like one of FILES, and that file's name, nearest first."""
    queue, seen = [(top, 0)], 0
    for folder, depth in queue:
        entries: list[Path] = []
        with suppress(OSError):
            entries = sorted(folder.iterdir())
        seen += len(entries)
        near = next((entry.name for entry in entries if _plain(entry.name) in FILES and entry.is_file()), None)
        if near is not None and not _is_of_another_set(folder, top, files):
            yield folder, near
        if depth < DEPTH and seen < ENTRIES:
            queue += [(entry, depth + 1) for entry in entries if entry.is_dir() and not entry.is_symlink()]


def _is_of_another_set(folder: Path, top: Path, files: FileSet) -> bool:
    """Whether a folder says itself that its files, which have the same names in all such sets, are of another one."""
    # The named folder's own name counts, those above it (a project's, a user's) do not.
    words = [part.lower() for part in (top.absolute().name, *folder.relative_to(top).parts)]
    return any("mnist" in word and word.replace("-", "").replace("_", "") != files.folder.lower() for word in words)


def _plain(name: str) -> str:
    """The name in FILES that a file would have: train-images.idx3-ubyte is train-images-idx3-ubyte."""
    return name.lower().removesuffix(".gz").replace(".", "-").replace("_", "-")
