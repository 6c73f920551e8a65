"""`Images`: a data set as plain arrays, and the checks that every data set passes. No torch here."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from normbench.errors import DataError


class DataWarning(UserWarning):
    """Something about the images of a data set that a study should know."""


NUMBERED = "number two or more classes from 0 without gaps"
Pair = tuple[np.ndarray, np.ndarray]
Channels = tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Images:
    """What the builder of a data set returns.

    Example:
        >>> x, y = np.zeros((8, 5, 5), np.uint8), np.arange(8) % 2
        >>> checked(Images(train=(x, y), test=(x, y)), "two_classes").classes
        2

    Args:
        train: Images to train and validate on, uint8 (N, H, W) or (N, C, H, W), and their labels, integers (N,) from
            0 to the number of classes less one.
        test: Images to test on, and their labels.
        validation: Images of the validation split; None: a tenth of `train`.
        mean: Mean of each channel of the training images, of 0 to 1; None: measured.
        std: Standard deviation of each channel, likewise. A channel that never changes has 1, so that it becomes 0.
        classes: Number of classes; None: as many as the training labels have.
        md5: MD5 of each file that was read, for the records.
    """

    train: Pair
    test: Pair
    validation: int | None = None
    mean: Channels | None = None
    std: Channels | None = None
    classes: int | None = None
    md5: Mapping[str, str] = field(default_factory=dict)

    @property
    def image(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        shape = self.train[0].shape[1:]
        channels, height, width = shape if len(shape) == 3 else (1, *shape)
        return int(channels), int(height), int(width)

    @property
    def digest(self) -> str:
        """SHA-256 of all images and labels: 16 hex digits that follow the content, wherever its file lies."""
        content = hashlib.sha256()
        for pixels, labels in (self.train, self.test):
            for array in (np.ascontiguousarray(pixels), labels.astype("<i8")):
                content.update(f"{array.dtype.str}{array.shape}".encode())
                content.update(array.data)
        return content.hexdigest()[:16]


def checked(images: object, name: str) -> Images:
    """`images` with everything filled in, or a DataError that says which part of data set `name` is wrong, and how.

    Args:
        images: What a builder returned.
        name: The data set (and its file), for errors.
    """
    if not isinstance(images, Images):
        raise DataError(f"data set {name} returns {type(images).__name__}: return normbench.data.Images(train, test)")
    train, test = (_checked_pair(pair, f"{name}, {part}") for part, pair in _parts(images))
    if train[0].shape[1:] != test[0].shape[1:]:
        raise DataError(
            f"{name}: training images are {_size(train[0])} and test images {_size(test[0])}: make them equal"
        )
    classes = images.classes or int(train[1].max()) + 1
    if images.classes is None and classes > len(train[1]):  # before so many are counted
        raise DataError(f"{name}: labels up to {classes - 1:,} for {len(train[1]):,} training images: {NUMBERED}")
    for part, (_, labels) in (("training", train), ("test", test)):
        check_labels(labels, classes, f"{name}, {part}")
    counts = np.bincount(train[1], minlength=classes)
    if classes < 2 or not counts.all():
        empty = ", ".join(map(str, np.flatnonzero(counts == 0)[:5]))
        problem = f"no training image has label {empty}" if empty else "all training images have label 0"
        raise DataError(f"{name}: {problem}: {NUMBERED}")
    filled = replace(images, train=train, test=test, classes=classes)
    if images.validation is None:
        filled = replace(filled, validation=len(train[1]) // 10)
    if images.mean is None or images.std is None:
        mean, std = moments(train[0])
        filled = replace(filled, mean=images.mean or mean, std=images.std or std)
    return filled


def _parts(images: Images) -> list[tuple[str, object]]:
    return [("training", images.train), ("test", images.test)]


def _checked_pair(pair: object, where: str) -> Pair:
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise DataError(f"{where}: expected a pair (images, labels)")
    pixels, labels = (np.asarray(part) for part in pair)
    if pixels.dtype != np.uint8:
        nan = " with NaN" if pixels.dtype.kind == "f" and np.isnan(pixels).any() else ""
        remedy = "multiply values of 0 to 1 by 255 and round" if pixels.dtype.kind == "f" else "convert them"
        raise DataError(f"{where}: images are {pixels.dtype}{nan}, expected uint8 (0 to 255): {remedy}")
    if pixels.ndim not in {3, 4} or 0 in pixels.shape:
        raise DataError(
            f"{where}: images have shape {pixels.shape}, expected (N, H, W) or (N, C, H, W), none of them 0"
        )
    if pixels.ndim == 4 and pixels.shape[3] in {1, 3} and pixels.shape[1] not in {1, 3}:
        raise DataError(f"{where}: images have shape {pixels.shape}, channels last: transpose them to (N, C, H, W)")
    if labels.dtype.kind not in "iu":
        nan = " with NaN" if labels.dtype.kind == "f" and np.isnan(labels).any() else ""
        raise DataError(f"{where}: labels are {labels.dtype}{nan}, expected whole numbers from 0")
    if labels.shape != (len(pixels),):
        raise DataError(f"{where}: labels have shape {labels.shape}, expected ({len(pixels)},): one for each image")
    if (high := int(labels.max())) >= 2**31:
        raise DataError(f"{where}: labels up to {high:,}: {NUMBERED}")
    return pixels, labels.astype(np.int64)  # NumPy counts no uint64


def repeated_images(images: Images) -> str:
    """One sentence on test images that are training images too, or on test classes that are empty; "" for neither."""
    train = {_hash(image) for image in images.train[0]}
    count = sum(_hash(image) in train for image in images.test[0])
    if count:
        return f"{count:,} of {len(images.test[1]):,} test images are training images too: accuracy is too high by them"
    empty = np.flatnonzero(np.bincount(images.test[1], minlength=images.classes or 0) == 0)
    return f"no test image has label {', '.join(map(str, empty[:5]))}" if len(empty) else ""


def _hash(image: np.ndarray) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).digest()


def check_labels(labels: np.ndarray, classes: int, where: str) -> None:
    """Raises DataError, naming `where` and the range found, unless all labels are 0 to `classes` - 1."""
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        raise DataError(f"{where}: labels range from {low} to {high}, expected 0 to {classes - 1}")


def moments(pixels: np.ndarray) -> tuple[Channels, Channels]:
    """Mean and standard deviation of each channel of uint8 images, of 0 to 1, from exact integer counts."""
    channels = [pixels] if pixels.ndim == 3 else [pixels[:, c] for c in range(pixels.shape[1])]
    means, stds = [], []
    values = np.arange(256)
    for channel in channels:
        counts = np.zeros(256, np.int64)
        for start in range(0, len(channel), 4096):  # bincount makes int64 of its input: eight times its size
            counts += np.bincount(channel[start : start + 4096].ravel(), minlength=256)
        mean = float((counts * values).sum() / counts.sum())
        variance = float((counts * (values - mean) ** 2).sum() / counts.sum())
        means.append(mean / 255)
        stds.append(variance**0.5 / 255 or 1.0)
    return tuple(means), tuple(stds)


def _size(pixels: np.ndarray) -> str:
    return " x ".join(map(str, pixels.shape[1:]))
