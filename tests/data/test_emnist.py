"""QMNIST and EMNIST, from files like the original ones with few images."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from normbench.data import dataset_facts, emnist
from normbench.errors import DataError
from normbench.spec.registry import DATASETS
from normbench.spec.schema import DataConfig

COUNT = 52


def idx(array: np.ndarray) -> bytes:
    kind = {"uint8": 8, ">i4": 12}[array.dtype.name if array.dtype.itemsize == 1 else ">i4"]
    return struct.pack(f">HBB{array.ndim}I", 0, kind, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(emnist, "QMNIST", COUNT)
    monkeypatch.setitem(emnist.PARTS, "letters", (COUNT, COUNT, 26))
    pixels = np.zeros((COUNT, 28, 28), np.uint8)
    pixels[:, 2, 5] = 1 + np.arange(COUNT)
    for folder, name, content in (
        ("EMNIST", "emnist-letters-{}-images-idx3-ubyte", pixels),
        ("EMNIST", "emnist-letters-{}-labels-idx1-ubyte", (1 + np.arange(COUNT) % 26).astype(np.uint8)),
        ("QMNIST", "qmnist-{}-images-idx3-ubyte", pixels),
        ("QMNIST", "qmnist-{}-labels-idx2-int", np.repeat(np.arange(COUNT) % 10, 8).reshape(-1, 8).astype(">i4")),
    ):
        for part in ("train", "test"):
            path = tmp_path / folder / "raw" / name.format(part)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(idx(content))
    return tmp_path


def test_letters_are_upright_and_count_from_zero(files: Path) -> None:
    images = DATASETS.get("emnist").build(DataConfig("emnist", dir=str(files)), part="letters")
    assert images.classes == 26
    assert images.train[1].min() == 0
    assert images.train[0][3, 5, 2] == 4  # the file has the columns first
    assert images.test[0].shape == (COUNT, 28, 28)


def test_qmnist_takes_the_digit_of_each_row_of_labels(files: Path) -> None:
    images = DATASETS.get("qmnist").build(DataConfig("qmnist", dir=str(files)))
    assert images.train[1].tolist() == [k % 10 for k in range(COUNT)]
    assert images.train[0][3, 2, 5] == 4


def test_files_as_downloaded_are_read(files: Path) -> None:
    path = files / "QMNIST" / "raw" / "qmnist-train-labels-idx2-int"
    path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    test_qmnist_takes_the_digit_of_each_row_of_labels(files)


def test_broken_and_missing_files_are_named(files: Path) -> None:
    path = files / "QMNIST" / "raw" / "qmnist-test-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=rf"qmnist-test-images-idx3-ubyte is no whole IDX file of {COUNT} x 28 x 28"):
        DATASETS.get("qmnist").build(DataConfig("qmnist", dir=str(files)))
    path.unlink()
    packed = path.with_name(f"{path.name}.gz")
    packed.write_bytes(b"not gzip")
    with pytest.raises(DataError, match=r"ubyte\.gz cannot be read \(.*: copy it again, or name another data\.dir$"):
        DATASETS.get("qmnist").build(DataConfig("qmnist", dir=str(files)))
    packed.unlink()
    with pytest.raises(DataError, match=r"is missing: .*torchvision\.datasets\.QMNIST\(FOLDER, download=True\)"):
        DATASETS.get("qmnist").build(DataConfig("qmnist", dir=str(files)))


@pytest.mark.parametrize(("part", "classes"), [("balanced", 47), ("letters", 26), ("byclass", 62)])
def test_facts_follow_the_part(part: str, classes: int) -> None:
    found = dataset_facts(DataConfig("emnist", options={"part": part}))
    assert (found.classes, found.train) == (classes, emnist.PARTS[part][0])
