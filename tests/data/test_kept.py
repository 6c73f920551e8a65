"""What has to be decoded is decoded once a machine, and then mapped: processes share it, as they do plain files."""

import gzip
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from normbench.data import registry
from normbench.data.cifar import CIFAR10, read_pickled
from normbench.data.idx import FILES
from normbench.data.images import Images
from normbench.data.kept import FOLDER, kept
from normbench.data.module import splits
from normbench.data.registry import read
from normbench.spec.schema import DataConfig

from .test_cifar import written

Array = np.ndarray[Any, Any]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_files: None) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/normbench/data" / FOLDER


def mapped_file(array: Any) -> str | None:
    """The file whose pages an array is; None for memory of this process alone."""
    while isinstance(array, np.ndarray):
        if isinstance(array, np.memmap) and array.filename is not None:
            return os.fspath(array.filename)
        array = array.base
    return None


def packed_mnist(raw: Path, folder: Path) -> DataConfig:
    for name in FILES:
        content = gzip.compress((raw / name).read_bytes(), 1)
        (raw / name).unlink()
        (raw / f"{name}.gz").write_bytes(content)
    return DataConfig("made_up", dir=str(folder))


def npz(raw: Path, folder: Path) -> DataConfig:
    images = np.arange(16 * 16, dtype=np.uint8).reshape(16, 4, 4)
    labels = np.arange(8) % 2
    np.savez(folder / "x.npz", x_train=images[:8], y_train=labels, x_test=images[8:], y_test=labels)
    return DataConfig("npz", validation=2, options={"path": str(folder / "x.npz")})


@pytest.mark.parametrize("make", [packed_mnist, npz])
def test_two_readings_share_the_pages_of_one_file(
    make: Callable[[Path, Path], DataConfig],
    raw: Path,
    tmp_path: Path,
    cache: Path,
) -> None:
    config = make(raw, tmp_path)
    found: list[Images] = []
    for _ in range(2):
        registry._in_memory.clear()
        found.append(read(config))
    for pixels in (lambda images: images.train[0], lambda images: images.test[0]):
        files = {mapped_file(pixels(images)) for images in found}
        assert len(files) == 1
        assert str(files.pop()).startswith(str(cache))
    assert found[0].digest == found[1].digest


def test_unpickled_images_are_mapped_and_every_file_is_checked_all_the_same(tmp_path: Path, cache: Path) -> None:
    files = written(tmp_path, CIFAR10)
    one, two = (read_pickled(files, DataConfig("cifar10", dir=str(tmp_path)), 10) for _ in range(2))
    assert mapped_file(one.train[0]) == mapped_file(two.train[0]) is not None
    assert one.digest == two.digest
    assert one.md5 == two.md5 == {**files.train, **files.test}


def test_what_trains_is_the_mapped_copy(tmp_path: Path, raw: Path) -> None:
    config = npz(raw, tmp_path)
    pixels = read(config).train[0]
    assert mapped_file(pixels) is not None
    assert splits(config, torch.device("cpu"))["train"].pixels.data_ptr() == pixels.ctypes.data


def test_a_copy_is_made_once_and_follows_its_key(cache: Path) -> None:
    made: list[str] = []

    def arrays(name: str) -> dict[str, Array]:
        made.append(name)
        return {"x": np.array([len(name)])}

    assert [kept(key, ["x"], partial(arrays, key))["x"].tolist() for key in ("a", "a", "bb")] == [[1], [1], [2]]
    assert made == ["a", "bb"]
    assert sorted(path.name for path in cache.iterdir()) == ["a", "bb"], "and nothing else"


def cut_off(file: Path) -> None:
    file.write_bytes(b"cut off")


@pytest.mark.parametrize("harm", [cut_off, Path.unlink])
def test_a_copy_that_is_not_whole_is_made_anew_once(cache: Path, harm: Callable[[Path], None]) -> None:
    made: list[int] = []

    def arrays() -> dict[str, Array]:
        made.append(1)
        return {"x": np.arange(100), "y": np.arange(3)}

    whole = kept("a", ["x", "y"], arrays)
    assert mapped_file(whole["x"]) is not None
    harm(cache / "a" / "x.npy")
    for _ in range(2):
        again = kept("a", ["x", "y"], arrays)
        assert {name: len(array) for name, array in again.items()} == {"x": 100, "y": 3}
        assert mapped_file(again["x"]) is not None
    assert len(made) == 2
    assert [path.name for path in cache.iterdir()] == ["a"], "and nothing else"
    assert whole["y"].tolist() == [0, 1, 2], "who has mapped the former copy goes on with it"


def test_a_cache_that_cannot_be_written_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/cache")
    alone = kept("a", ["x"], lambda: {"x": np.arange(3)})["x"]
    assert mapped_file(alone) is None
    assert alone.tolist() == [0, 1, 2]
