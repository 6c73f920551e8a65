"""`register_dataset`, and what is known of a data set: its facts and its images. No torch here."""

from __future__ import annotations

import dataclasses
import inspect
import json
import warnings
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from normbench.data.idx import FILES, FileSet, lying_file
from normbench.data.images import Channels, DataWarning, Images, checked, repeated_images
from normbench.data.places import raw_folder_of
from normbench.errors import DataError, NormbenchError, UsageError
from normbench.spec.registry import DATASETS, Entry, entry_of
from normbench.spec.schema import DataConfig

HANDED = ("config",)
TAKEN = {field.name for field in dataclasses.fields(DataConfig)} | {"seed"}
KEPT = 4  # data sets of a process that stay in memory
_in_memory: OrderedDict[tuple[Any, ...], Images] = OrderedDict()
_facts_in_memory: dict[tuple[Any, ...], DatasetFacts] = {}


@dataclass(frozen=True)
class DatasetFacts:
    """What a plan knows of a data set.

    Args:
        name: Name in a configuration.
        train: Training images, before validation is taken out.
        validation: The data set's own number of validation images.
        test: Test images.
        image: Channels, height and width.
        classes: Number of classes.
        mean: Mean of each channel of the training images, of 0 to 1; () where it is measured once they are read.
        std: Standard deviation of each channel, likewise.
        digest: Digest of all images and labels, which enters a run's identity; "" where the name says it all.
    """

    name: str
    train: int
    validation: int
    test: int
    image: tuple[int, int, int]
    classes: int
    mean: Channels = ()
    std: Channels = ()
    digest: str = ""


Builder = Callable[..., Images]
Known = DatasetFacts | Callable[[dict[str, Any]], DatasetFacts]


def register_dataset(
    name: str, *, known: Known | None = None, files: FileSet | None = None, replace: bool = False
) -> Callable[[Builder], Builder]:
    """Registers a function that returns `Images` under `name`; its typed parameters are the data set's options.

    Example:
        >>> import numpy as np
        >>> @register_dataset("stripes")
        ... def stripes(*, count: int = 100) -> Images:
        ...     "Two classes of stripes, across and down."
        ...     x = np.zeros((count, 8, 8), np.uint8)
        ...     y = np.arange(count) % 2
        ...     x[y == 0, ::2], x[y == 1, :, ::2] = 255, 255
        ...     return Images(train=(x, y), test=(255 - x[:20], y[:20]))
        >>> dataset_facts(DataConfig("stripes", options={"count": 500})).train
        500

        In YAML: `data: {name: stripes, count: 500}`.

    Args:
        name: Name in a configuration.
        known: Facts that hold without reading, or a function that gives them for the options; without them they are
            measured from the images.
        files: The four IDX files to look for and to download, for such sets.
        replace: Take the place of a data set of that name.

    A parameter called `config` is no option: it is handed the DataConfig. An option named like a key of the section
    raises UsageError.
    """

    def register(build: Builder) -> Builder:
        entry = entry_of(name, build, handed=HANDED, facts={"known": known, "files": files, "facts": dataset_facts})
        for option in entry.options:
            if option in TAKEN:
                raise UsageError(f"data set '{name}' has an option '{option}', a key of the section: rename it")
        DATASETS.add(entry, replace=replace)
        return build

    return register


def dataset_facts(config: DataConfig) -> DatasetFacts:
    """The facts of the configured data set: known ones, or measured from its images (once a process)."""
    entry = DATASETS.get(config.name)
    options = entry.chosen(config.options, "data")
    known: Known | None = entry.facts.get("known")
    if known is not None:
        return known if isinstance(known, DatasetFacts) else known(options)
    key = _key(entry, config, options, None)
    if key not in _facts_in_memory:
        images = read(config)
        if said := repeated_images(images):
            warnings.warn(f"{_origin(entry, options)}: {said}", DataWarning, stacklevel=2)
        _facts_in_memory[key] = facts_of(config.name, images)
    return _facts_in_memory[key]


def facts_of(name: str, images: Images) -> DatasetFacts:
    """The facts of images that have been checked."""
    assert None not in (images.validation, images.classes, images.mean, images.std)
    return DatasetFacts(
        name,
        len(images.train[1]),
        images.validation or 0,
        len(images.test[1]),
        images.image,
        images.classes or 0,
        images.mean or (),
        images.std or (),
        images.digest,
    )


def raw_folder(config: DataConfig) -> Path | None:
    """The folder with the four files of the data set, or None: see `places.raw_folder_of`."""
    files = files_of(config)
    return raw_folder_of(config, files) if files else None


def files_of(config: DataConfig) -> FileSet | None:
    """The files that the data set consists of, where it does; an unknown data set raises UsageError."""
    found: FileSet | None = DATASETS.get(config.name).facts.get("files")
    return found


def read(config: DataConfig) -> Images:
    """The checked images of the configured data set, once a process while it stays among the last few.

    Raises DataError for what is missing, damaged, foreign or not images.
    """
    entry = DATASETS.get(config.name)
    options = entry.chosen(config.options, "data")
    key = key_of(config)
    if key in _in_memory:
        _in_memory.move_to_end(key)
    else:
        _in_memory[key] = checked(_built(entry, config, options), _origin(entry, options))
        while len(_in_memory) > KEPT:
            _in_memory.popitem(last=False)
    return _in_memory[key]


def key_of(config: DataConfig) -> tuple[Any, ...]:
    """What decides the images: equal keys, equal images."""
    entry = DATASETS.get(config.name)
    return _key(entry, config, entry.chosen(config.options, "data"), raw_folder(config))


def _key(entry: Entry, config: DataConfig, options: dict[str, Any], raw: Path | None) -> tuple[Any, ...]:
    paths = [lying_file(raw, name) for name in FILES] if raw else [v for v in options.values() if isinstance(v, str)]
    stamps = [_stamp(Path(path)) for path in paths if path]
    return (entry.build, json.dumps(options, sort_keys=True, default=str), str(raw), str(config.dir), *stamps)


def _stamp(path: Path) -> tuple[int, int] | None:
    """Changes when the file does; None for what is no file."""
    try:
        found = path.expanduser().stat()
    except (OSError, ValueError, RuntimeError):
        return None
    return found.st_mtime_ns, found.st_size


def _built(entry: Entry, config: DataConfig, options: dict[str, Any]) -> Any:
    handed = {"config": config} if "config" in inspect.signature(entry.build).parameters else {}
    try:
        return entry.build(**handed, **options)
    except NormbenchError:
        raise
    except Exception as error:  # a user's code may raise anything
        raise DataError(f"data set {_origin(entry, options)} fails: {type(error).__name__}: {error}") from error


def _origin(entry: Entry, options: dict[str, Any]) -> str:
    """A data set's name as an error says it, with the file that it was read from or that defines it."""
    path = options.get("path")
    return f"{entry.name} ({path or entry.source or 'no file'})"
