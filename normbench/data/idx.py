"""Sets of four IDX files, as MNIST has them: read in place, compressed or not, and checked. No torch here."""

from __future__ import annotations

import gzip
import hashlib
import struct
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from normbench.data.images import Pair, check_labels
from normbench.data.kept import Arrays, kept
from normbench.errors import DataError

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
AGAIN = "copy it again, or move it away to have it downloaded"
REMEDY = "move it away and run again, or name another folder in data.dir"


@dataclass(frozen=True)
class FileSet:
    """What is known of the four files of a data set.

    Args:
        folder: Its folder in torchvision's layout, which is also the name of torchvision's class.
        md5: MD5 of the four uncompressed files in the order of FILES; empty where there is none.
        counts: Images of the training and of the test files.
        size: Height and width.
        classes: Labels are 0 to this less one.
        others: Names and files of sets whose files have the same form: where no MD5 of its own is known, that a file is
            not one of theirs can still be told.
    """

    folder: str
    md5: tuple[str, ...] = ()
    counts: tuple[int, int] = (60_000, 10_000)
    size: tuple[int, int] = (28, 28)
    classes: int = 10
    others: tuple[tuple[str, FileSet], ...] = ()


def lying_file(raw: Path, name: str) -> Path | None:
    """The file `name` of FILES in `raw`, as it is or as downloaded (.gz); None where neither is."""
    for path in (raw / name, raw / f"{name}.gz"):
        with suppress(OSError):  # a folder that may not be entered has no files for us
            if path.is_file():
                return path
    return None


def missing_files(raw: Path) -> list[str]:
    """Those of FILES that are not in `raw`."""
    return [name for name in FILES if lying_file(raw, name) is None]


def read_files(raw: Path, files: FileSet, name: str) -> tuple[Pair, Pair, dict[str, str]]:
    """Training and test images of data set `name` with their labels, and the MD5 of each uncompressed file.

    Images are uint8 (N, H, W), labels uint8 (N,). Files are mapped rather than copied, so that processes of one machine
    share them; of compressed ones, a copy in the user's cache. A file that is truncated, foreign, or not the original
    one raises DataError.
    """
    contents: list[tuple[Path, np.ndarray]] = []
    arrays: list[np.ndarray] = []
    for index, file in enumerate(FILES):
        path = lying_file(raw, file)
        if path is None:
            raise DataError(f"{raw / file} is missing")
        content = content_of(path)
        count = files.counts[index // 2]
        array = _array(path, content, (count, *files.size) if "images" in file else (count,))
        if "labels" in file:
            check_labels(array, files.classes, str(path))
        contents.append((path, content))
        arrays.append(array)
    sums = {
        file: hashlib.md5(content.data, usedforsecurity=False).hexdigest()
        for file, (_, content) in zip(FILES, contents, strict=True)
    }
    for file, (path, _), expected in zip(FILES, contents, files.md5 or sums.values(), strict=True):
        if sums[file] != expected:  # last: a wrong length, header or label says more
            raise DataError(
                f"{path} is not the original file of {name}: its MD5{' (uncompressed)' * (path.suffix == '.gz')} is "
                f"{sums[file]}, expected {expected}; {REMEDY}"
            )
        for other, known in files.others:
            if sums[file] in known.md5:
                raise DataError(f"{path} is a file of {other}, not of {name}: {REMEDY}")
    return (arrays[0], arrays[1]), (arrays[2], arrays[3]), sums


def content_of(path: Path, remedy: str = AGAIN) -> np.ndarray:
    """The bytes of a file, uncompressed. Raises a DataError that ends with `remedy`."""
    try:
        if path.suffix == ".gz":
            packed = path.read_bytes()
            key = f"gz-{hashlib.md5(packed, usedforsecurity=False).hexdigest()}"
            return kept(key, ["content"], lambda: _unpacked(packed))["content"]
        if path.stat().st_size == 0:  # nothing to map
            return np.empty(0, np.uint8)
        return np.memmap(path, np.uint8, mode="c")  # copy on write: torch warns of arrays that cannot be written
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read ({error}): {remedy}") from None


def _unpacked(packed: bytes) -> Arrays:
    return {"content": np.frombuffer(bytearray(gzip.decompress(packed)), np.uint8)}


def _array(path: Path, content: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The array of an IDX file, whose header says type, dimensions and length; all are checked."""
    header = struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape)
    expected = len(header) + int(np.prod(shape))
    if len(content) != expected:
        raise DataError(
            f"{path} has {len(content):,} bytes, expected {expected:,}: it is truncated or another file; {AGAIN}"
        )
    if content[: len(header)].tobytes() != header:
        raise DataError(
            f"{path} does not begin as an IDX file of {' x '.join(map(str, shape))} bytes does: it is another "
            f"file; {AGAIN}"
        )
    return content[len(header) :].reshape(shape)
