"""QMNIST and EMNIST: IDX files under other names, in torchvision's layout, as they are or as downloaded (.gz)."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from normbench.data.idx import content_of, lying_file
from normbench.data.images import Images, check_labels
from normbench.data.kept import Arrays, kept
from normbench.data.places import place_of
from normbench.data.registry import DatasetFacts, register_dataset
from normbench.errors import DataError
from normbench.spec.schema import DataConfig

QMNIST = 60_000  # training images, and as many to test on
AGAIN = "copy it again, or name another data.dir"  # nothing downloads these
TYPES = {0x08: ">u1", 0x0C: ">i4"}
Part = Literal["balanced", "letters", "digits", "mnist", "byclass", "bymerge"]
# Training images, test images and classes of EMNIST's parts: Cohen et al. 2017 (arXiv 1702.05373), table II.
PARTS: dict[str, tuple[int, int, int]] = {
    "balanced": (112_800, 18_800, 47),
    "letters": (124_800, 20_800, 26),
    "digits": (240_000, 40_000, 10),
    "mnist": (60_000, 10_000, 10),
    "byclass": (697_932, 116_323, 62),
    "bymerge": (697_932, 116_323, 47),
}


@register_dataset("qmnist", known=DatasetFacts("qmnist", QMNIST, 5_000, QMNIST, (1, 28, 28), 10))
def qmnist(config: DataConfig) -> Images:
    """MNIST's training digits, and 60,000 to test on: MNIST's and those that it left out (Yadav & Bottou 2019)."""
    sums: dict[str, str] = {}
    arrays = [
        _array(config, "QMNIST", f"qmnist-{part}-{what}", shape, sums)
        for part in ("train", "test")
        for what, shape in (("images-idx3-ubyte", (QMNIST, 28, 28)), ("labels-idx2-int", (QMNIST, 8)))
    ]
    labels = [arrays[at][:, 0].astype(np.int64) for at in (1, 3)]  # the other columns say who wrote it
    for one in labels:
        check_labels(one, 10, "qmnist")
    return Images((arrays[0], labels[0]), (arrays[2], labels[1]), validation=5_000, classes=10, md5=sums)


def emnist_facts(options: Mapping[str, Any]) -> DatasetFacts:
    """What is known of a part of EMNIST."""
    train, test, classes = PARTS[options["part"]]
    return DatasetFacts("emnist", train, train // 10, test, (1, 28, 28), classes)


@register_dataset("emnist", known=emnist_facts)
def emnist(config: DataConfig, *, part: Part = "balanced") -> Images:
    """Handwritten letters and digits, 28 x 28, upright (Cohen et al. 2017).

    Args:
        part: balanced (47 classes), letters (26), digits, mnist, byclass (62) or bymerge (47).
    """
    train, test, classes = PARTS[part]
    sums: dict[str, str] = {}
    pairs = []
    for split, count in (("train", train), ("test", test)):
        name = f"emnist-{part}-{split}"
        file = f"{name}-images-idx3-ubyte"
        columns_first = _array(config, "EMNIST", file, (count, 28, 28), sums)
        pixels = kept(f"upright-{sums[file]}", ["pixels"], partial(_upright, columns_first))["pixels"]
        labels = _array(config, "EMNIST", f"{name}-labels-idx1-ubyte", (count,), sums).astype(np.int64)
        labels = labels - (part == "letters")  # whose labels begin with 1
        check_labels(labels, classes, name)
        pairs.append((pixels, labels))
    return Images(pairs[0], pairs[1], validation=train // 10, classes=classes, md5=sums)


def _upright(pixels: np.ndarray[Any, Any]) -> Arrays:
    return {"pixels": np.ascontiguousarray(pixels.transpose(0, 2, 1))}


def _array(
    config: DataConfig, source: str, name: str, shape: tuple[int, ...], sums: dict[str, str]
) -> np.ndarray[Any, Any]:
    """The array of one file; its header has to say this shape."""
    place = place_of(config)
    raw = (place.folder if place else Path()) / source / "raw"
    path = lying_file(raw, name)
    if path is None:
        more = ', split="byclass"' if source == "EMNIST" else ""
        raise DataError(
            f"{raw / name} is missing: it is not downloaded by itself: torchvision.datasets.{source}(FOLDER{more}, "
            "download=True) does it; then name FOLDER in data.dir"
        )
    content = content_of(path, AGAIN)
    sums[name] = hashlib.md5(content.data, usedforsecurity=False).hexdigest()
    kind = TYPES.get(int(content[2])) if len(content) > 4 else None
    header = struct.pack(f">HBB{len(shape)}I", 0, int(content[2]) if kind else 0, len(shape), *shape)
    size = int(np.prod(shape)) * np.dtype(kind or "u1").itemsize
    if kind is None or content[: len(header)].tobytes() != header or len(content) != len(header) + size:
        raise DataError(f"{path} is no whole IDX file of {' x '.join(map(str, shape))}: {AGAIN}")
    return content[len(header) :].view(kind).reshape(shape)
