"""CIFAR-10 and CIFAR-100 in torchvision's layout. Every file's MD5 is checked before anything in it is unpickled."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from normbench.data.images import Images, Pair
from normbench.data.kept import Arrays, kept
from normbench.data.places import place_of
from normbench.data.registry import DatasetFacts, register_dataset
from normbench.errors import DataError
from normbench.spec.schema import DataConfig


@dataclass(frozen=True)
class PickledSet:
    """What is known of a data set's files.

    Args:
        name: Name of the data set.
        source: Its class in torchvision, which downloads it.
        folder: Folder of the files, below the folder of all data.
        train: MD5 of each training file, by name.
        test: Of each test file.
        labels: Key of the labels.
    """

    name: str
    source: str
    folder: str
    train: Mapping[str, str]
    test: Mapping[str, str]
    labels: str


# The MD5s are those that torchvision checks (torchvision/datasets/cifar.py).
CIFAR10 = PickledSet(
    "cifar10",
    "CIFAR10",
    "cifar-10-batches-py",
    {
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    },
    {"test_batch": "40351d587109b95175f43aff81a1287e"},
    "labels",
)
CIFAR100 = PickledSet(
    "cifar100",
    "CIFAR100",
    "cifar-100-python",
    {"train": "16019d7e3df5f24257cddd939b257f8d"},
    {"test": "f0ef6b0ae62326f3e7ffdfab6717acfc"},
    "fine_labels",
)


@register_dataset("cifar10", known=DatasetFacts("cifar10", 50_000, 5_000, 10_000, (3, 32, 32), 10))
def cifar10(config: DataConfig) -> Images:
    """50,000 photographs of ten kinds of things, 32 x 32 in colour, and 10,000 to test on (Krizhevsky 2009)."""
    return read_pickled(CIFAR10, config, 10)


@register_dataset("cifar100", known=DatasetFacts("cifar100", 50_000, 5_000, 10_000, (3, 32, 32), 100))
def cifar100(config: DataConfig) -> Images:
    """50,000 photographs of a hundred kinds of things, 32 x 32 in colour, and 10,000 to test on (Krizhevsky 2009)."""
    return read_pickled(CIFAR100, config, 100)


def read_pickled(files: PickledSet, config: DataConfig, classes: int) -> Images:
    """The images of a set, or a DataError that names the file that is missing or foreign."""
    place = place_of(config)
    where = place.folder if place else Path()
    sums: dict[str, str] = {}
    pairs = [_pair(where / files.folder, part, files, sums) for part in (files.train, files.test)]
    return Images(pairs[0], pairs[1], validation=5_000, classes=classes, md5=sums)


def _pair(folder: Path, parts: Mapping[str, str], files: PickledSet, sums: dict[str, str]) -> Pair:
    contents = []
    for name, expected in parts.items():
        try:
            content = (folder / name).read_bytes()
        except OSError as error:
            raise DataError(
                f"{folder / name} cannot be read ({error.strerror}): {files.name} is not downloaded by itself: "
                f"torchvision.datasets.{files.source}(FOLDER, download=True) does it; then name FOLDER in data.dir"
            ) from None
        sums[name] = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if sums[name] != expected:  # a pickle that anybody may have written can run anything: it is not opened
            raise DataError(
                f"{folder / name} is not the original file of {files.name}: its MD5 is {sums[name]}, expected "
                f"{expected}; it was not opened: move it away, and unpack the original"
            )
        contents.append(content)

    def unpickled() -> Arrays:
        entries = [pickle.loads(content, encoding="latin1") for content in contents]
        pixels = [np.asarray(entry["data"], np.uint8).reshape(-1, 3, 32, 32) for entry in entries]
        labels = [np.asarray(entry[files.labels], np.int64) for entry in entries]
        return {"pixels": np.concatenate(pixels), "labels": np.concatenate(labels)}

    known = hashlib.md5("".join(parts.values()).encode(), usedforsecurity=False).hexdigest()
    arrays = kept(f"{files.name}-{known}", ("pixels", "labels"), unpickled)
    return arrays["pixels"], arrays["labels"]
