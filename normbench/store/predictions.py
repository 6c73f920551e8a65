"""test_predictions.npz of a run folder: the class that the trained network gives each test image, and whether rightly.

It comes just before result.json. A diverged run has none, nor has one that was pulled, or made before there were any.
"""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from normbench.store.files import replace_file, unwritable
from normbench.store.folder import PREDICTIONS


class Predictions(NamedTuple):
    """What a run says of the test images, in the order of the data set.

    Args:
        classes: Predicted classes, (N,), uint8 (uint16 from 257 classes on).
        correct: Whether they are right, bool (N,).
    """

    classes: np.ndarray[Any, Any]
    correct: np.ndarray[Any, Any]


def write_predictions(folder: Path, classes: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> Path:
    """Writes a run's predictions, whole or not at all. Raises RunFolderError where it cannot.

    Args:
        folder: The run folder.
        classes: Predicted class of each test image, (N,).
        labels: Their labels, (N,).
    """
    path = folder / PREDICTIONS
    narrow = classes.astype(np.uint8 if classes.max(initial=0) < 256 else np.uint16)

    def write(fresh: Path) -> None:
        with fresh.open("wb") as file:
            np.savez(file, classes=narrow, correct=np.packbits(classes == labels))

    try:
        replace_file(path, write)
    except OSError as error:
        raise unwritable(path, error) from None
    return path


def read_predictions(folder: Path) -> Predictions | None:
    """A run's predictions, or None where it has none, or none that can be read, of which it warns."""
    path = folder / PREDICTIONS
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            classes, packed = archive["classes"], archive["correct"]
        if classes.ndim == 1 and packed.dtype == np.uint8 and packed.shape == (-(-len(classes) // 8),):
            return Predictions(classes, np.unpackbits(packed, count=len(classes)).astype(bool))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError, KeyError, TypeError, AttributeError, zipfile.BadZipFile):
        pass
    warnings.warn(f"{path} cannot be read: its run is left out where test images are compared", stacklevel=2)
    return None
