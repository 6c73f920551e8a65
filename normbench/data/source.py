"""Which data set a run really uses on this machine: the configured one, after a download if need be, or mnist_5k."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

from normbench.data.download import download
from normbench.data.embedded import EMBEDDED, embedded_file
from normbench.data.idx import FileSet
from normbench.data.places import Place, cache_dir, place_of
from normbench.data.registry import files_of, raw_folder
from normbench.errors import DataError
from normbench.spec.keys import replace
from normbench.spec.resolve import resolve
from normbench.spec.schema import DataConfig, RunConfig

REPLACED = "mnist"  # the only data set that mnist_5k may stand in for

_fallen_back: set[str] = set()  # data sets for which this process has announced its fall-back


def available(config: DataConfig) -> str:
    """The data set that a run of this configuration uses on this machine, as far as can be told offline.

    mnist becomes mnist_5k where the files are missing and the last attempt to download them, if any, failed. A named
    folder without the files raises DataError, as it does in `ensure`.
    """
    if config.name == EMBEDDED:
        return config.name
    return EMBEDDED if not at_hand(config) and _may_fall_back(config) and _failed_before(config) else config.name


def at_hand(config: DataConfig) -> bool:
    """Whether the data set can be read on this machine as it is. A named folder without the files raises DataError."""
    return files_of(config) is None or raw_folder(config) is not None


def with_data_at_hand(config: RunConfig) -> RunConfig:
    """The resolved configuration of what can really be trained: where mnist cannot be had, one of mnist_5k.

    Downloads what is missing; raises DataError as `ensure` does.
    """
    config = resolve(config)
    name = ensure(config.data)
    return config if name == config.data.name else resolve(replace(config, {"data.name": name}))


def on_disk(config: DataConfig, announce: bool = True) -> str:
    """The data set to read once a download has been tried: no process of a run decides by the network again."""
    if at_hand(config):
        return config.name
    if not _may_fall_back(config):
        raise DataError(_reason(config, "a download was tried"))
    embedded_file()
    if announce and config.name not in _fallen_back:
        _announce(config, "a download was tried")
    return EMBEDDED


def ensure(config: DataConfig) -> str:
    """Makes the files available, by download if need be, and returns the name of the data set to use.

    A command calls this once for each data set and goes on with the name that it returns. Every call tries the
    network anew where files are missing, and announces a fall-back to mnist_5k. Raises DataError, saying what to do,
    where there is neither: always where the person named the folder.
    """
    if config.name == EMBEDDED:
        embedded_file()
        return config.name
    files = files_of(config)
    if files is None or raw_folder(config) is not None:
        return config.name
    place = place_of(config)
    try:
        _fill(place, files, config.name)
    except OSError as error:
        if not _may_fall_back(config):
            raise DataError(_reason(config, str(error))) from None
        embedded_file()
        _announce(config, str(error))
        _note_failure(config, str(error))
        return EMBEDDED
    _fallen_back.discard(config.name)
    note = _failure_note(config)
    if note is not None:
        with suppress(OSError):
            note.unlink(missing_ok=True)
    return config.name


def _fill(place: Place | None, files: FileSet, name: str) -> None:
    """Downloads into the user's cache, or into an empty folder that the person named, which is said."""
    if place is None:
        raise OSError("there is no cache folder: set HOME or XDG_CACHE_HOME")
    if place.named:
        print(f"downloading {name} into {place.named}, which is empty", file=sys.stderr, flush=True)
    else:
        try:
            place.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OSError(f"{error}: the cache is set by XDG_CACHE_HOME and HOME") from None
    download(files, place.folder)


def _may_fall_back(config: DataConfig) -> bool:
    place = place_of(config)
    return config.name == REPLACED and config.allow_embedded and not (place and place.named)


def _reason(config: DataConfig, problem: str) -> str:
    """One line for a data set that cannot be had, with the remedy."""
    place, files = place_of(config), files_of(config)
    where = (place.named or str(place.folder)) if place else "any folder"
    folder = files.folder if files else ""
    embedded = ", or data.name=mnist_5k" if config.name == REPLACED else ""
    return (
        f"{config.name} is neither in {where} nor downloadable ({problem}): "
        f"set NORMBENCH_DATA_DIR to a folder with {folder}/raw/*-ubyte{embedded}"
    )


def _announce(config: DataConfig, problem: str) -> None:
    place = place_of(config)
    print(
        f"warning: {config.name} is neither in {place.folder if place else 'any folder'} nor downloadable ({problem}); "
        "using the embedded mnist_5k instead: 4,000 real digits to train and validate on, 1,000 to test on. Its "
        "results are never mixed with those of mnist.",
        file=sys.stderr,
        flush=True,
    )
    _fallen_back.add(config.name)


def _failure_note(config: DataConfig) -> Path | None:
    """A file that says that the last download failed.

    It keeps offline commands (plan, status, report) at what `run` decided; `ensure` never asks it.
    """
    cache = cache_dir()
    return cache / f"{config.name}.unavailable" if cache else None


def _failed_before(config: DataConfig) -> bool:
    note = _failure_note(config)
    with suppress(OSError):
        return config.name in _fallen_back or (note is not None and note.exists())
    return config.name in _fallen_back


def _note_failure(config: DataConfig, problem: str) -> None:
    """Without the note (a cache that cannot be written) this process alone knows of the fall-back."""
    note = _failure_note(config)
    if note is not None:
        with suppress(OSError):
            note.parent.mkdir(parents=True, exist_ok=True)
            note.write_text(f"{problem}\n", encoding="utf-8")
