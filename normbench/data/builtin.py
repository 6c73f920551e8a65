"""The data sets that normbench knows: mnist, fashion_mnist, mnist_5k, and a file given by its path."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from typing import Annotated

import numpy as np

from normbench.data.embedded import EMBEDDED, TEST, VALIDATION, embedded_images
from normbench.data.idx import FileSet, read_files
from normbench.data.images import Channels, Images
from normbench.data.kept import Arrays, kept
from normbench.data.places import expanded, place_of
from normbench.data.registry import Builder, DatasetFacts, raw_folder, register_dataset
from normbench.errors import DataError
from normbench.spec.marks import NOT_IDENTITY
from normbench.spec.schema import DataConfig

MEAN, STD = 0.1307, 0.3081  # of MNIST's training images, as everybody rounds them
HELD_OUT = 5_000  # images of the sets of four files to validate on
ARRAYS = ("x_train", "y_train", "x_test", "y_test")


def _idx_set(name: str, summary: str, files: FileSet, mean: Channels = (), std: Channels = ()) -> Builder:
    """Registers a data set of four IDX files. Without mean and standard deviation they are measured."""

    def build(config: DataConfig) -> Images:
        raw = raw_folder(config)
        if raw is None:
            place = place_of(config)
            raise DataError(f"{name} is not in {place.folder if place else 'any folder'}: set data.dir")
        train, test, md5 = read_files(raw, files, name)
        return Images(
            train, test, validation=HELD_OUT, mean=mean or None, std=std or None, classes=files.classes, md5=md5
        )

    build.__doc__ = summary
    image = (1, *files.size)
    facts = DatasetFacts(name, files.counts[0], HELD_OUT, files.counts[1], image, files.classes, mean, std)
    register: Callable[[Builder], Builder] = register_dataset(name, known=facts, files=files)
    return register(build)


MNIST = FileSet(
    "MNIST",
    (
        "6bbc9ace898e44ae57da46a324031adb",
        "a25bea736e30d166cdddb491f175f624",
        "2646ac647ad5339dbf082846283269ea",
        "27ae3e4e09519cfbb04c329615203637",
    ),
)
# torchvision knows the MD5 of the archives; these are those of the files in them, as several projects list them.
FASHION = FileSet(
    "FashionMNIST",
    (
        "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "9018921c3c673c538a1fc5bad174d6f9",
        "8181f5470baa50b63fa0f6fddb340f0a",
        "15d484375f8d13e6eb1aabb0c3f46965",
    ),
)
# torchvision knows the MD5 of the archives alone, and checks it when it downloads.
KMNIST = FileSet("KMNIST", others=(("mnist", MNIST), ("fashion_mnist", FASHION)))

mnist = _idx_set(
    "mnist",
    "60,000 handwritten digits, 28 x 28, and 10,000 to test on (LeCun et al. 1998).",
    MNIST,
    (MEAN,),
    (STD,),
)
fashion_mnist = _idx_set(
    "fashion_mnist",
    "60,000 pieces of clothing, 28 x 28, and 10,000 to test on (Xiao et al. 2017).",
    FASHION,
    (0.2860,),
    (0.3530,),
)
kmnist = _idx_set(
    "kmnist",
    "60,000 handwritten Japanese characters of ten kinds, 28 x 28, and 10,000 to test on (Clanuwat et al. 2018).",
    KMNIST,
)


@register_dataset(EMBEDDED, known=DatasetFacts(EMBEDDED, 4_000, VALIDATION, TEST, (1, 28, 28), 10, (MEAN,), (STD,)))
def mnist_5k() -> Images:
    """5,000 of MNIST's training digits, 1,000 of them to test on; they need neither files nor network."""
    return embedded_images(MEAN, STD)


@register_dataset("npz")
def npz(*, path: Annotated[str, NOT_IDENTITY]) -> Images:
    """A NumPy file with the arrays x_train, y_train, x_test and y_test.

    Args:
        path: The .npz file. What it holds, not its path, enters a run's identity.
    """
    file = expanded(path, "data.path")
    try:
        content = file.read_bytes()
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
        arrays = kept(f"npz-{md5}", ARRAYS, lambda: _unpacked(content, path))
        x_train, y_train, x_test, y_test = (arrays[name] for name in ARRAYS)
    except DataError:
        raise
    except Exception as error:  # of a file that is another's, or broken: zipfile, zlib and NumPy have one each for that
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(
            f"data.path={path} cannot be read ({reason}): give an .npz file with {', '.join(ARRAYS)}"
        ) from None
    return Images((x_train, y_train), (x_test, y_test), md5={file.name: md5})


def _unpacked(content: bytes, path: str) -> Arrays:
    """The four arrays of an .npz file, of which `path` is what the user wrote."""
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        missing = [name for name in ARRAYS if name not in archive.files]
        if missing:
            raise DataError(f"data.path={path} has no array {missing[0]}, but {', '.join(sorted(archive.files))}")
        return {name: archive[name] for name in ARRAYS}
