"""test_predictions.npz: what was written is read, and what is broken is none."""

from pathlib import Path

import numpy as np
import pytest

from normbench.errors import RunFolderError
from normbench.store.predictions import PREDICTIONS, read_predictions, write_predictions

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(("images", "classes", "kind"), [(1, 10, "uint8"), (1003, 10, "uint8"), (64, 300, "uint16")])
def test_a_round_trip(tmp_path: Path, images: int, classes: int, kind: str) -> None:
    said, labels = (RNG.integers(0, classes, images) for _ in range(2))
    said[0] = classes - 1
    path = write_predictions(tmp_path, said, labels)
    found = read_predictions(tmp_path)
    assert found is not None
    assert found.classes.dtype == kind
    assert (found.classes == said).all()
    assert (found.correct == (said == labels)).all()
    assert [path] == list(tmp_path.iterdir()), "no temporary file stays"


def test_ten_thousand_images_are_twelve_kilobytes(tmp_path: Path) -> None:
    digits = np.zeros(10_000, dtype=int)
    assert write_predictions(tmp_path, digits, digits).stat().st_size < 12_000


def test_a_run_without_predictions_has_none(tmp_path: Path) -> None:
    assert read_predictions(tmp_path) is None
    assert read_predictions(tmp_path / "no folder") is None


def test_what_is_broken_is_none_and_is_named(tmp_path: Path) -> None:
    path = write_predictions(tmp_path, np.zeros(100, dtype=int), np.zeros(100, dtype=int))
    whole = path.read_bytes()

    def named() -> None:
        with pytest.warns(UserWarning, match=f"{path} cannot be read: its run is left out"):
            assert read_predictions(tmp_path) is None

    for content in (b"", b"text", whole[: len(whole) // 2]):
        path.write_bytes(content)
        named()
    np.savez(tmp_path / PREDICTIONS, classes=np.zeros(100, dtype=np.uint8), correct=np.zeros(3, dtype=np.uint8))
    named()
    np.savez(tmp_path / PREDICTIONS, other=np.zeros(3))
    named()
    path.unlink()
    path.mkdir()
    named()


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="cannot write"):
        write_predictions(tmp_path / "none", np.zeros(3, dtype=int), np.zeros(3, dtype=int))
