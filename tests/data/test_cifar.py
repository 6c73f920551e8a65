"""CIFAR: torchvision's layout and MD5s; a file that is not the original one is not unpickled."""

import dataclasses
import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
from torchvision import datasets

from normbench.data.cifar import CIFAR10, CIFAR100, PickledSet, read_pickled
from normbench.errors import DataError
from normbench.spec.schema import DataConfig


@pytest.mark.parametrize(("files", "source"), [(CIFAR10, datasets.CIFAR10), (CIFAR100, datasets.CIFAR100)])
def test_files_and_md5s_are_torchvisions(files: PickledSet, source: type[datasets.CIFAR10]) -> None:
    assert files.folder == source.base_folder
    assert files.source == source.__name__
    assert [list(pair) for pair in files.train.items()] == source.train_list
    assert [list(pair) for pair in files.test.items()] == source.test_list


def written(folder: Path, files: PickledSet, per_file: int = 20) -> PickledSet:
    """The set with made-up files, and their MD5s."""
    (folder / files.folder).mkdir()
    sums: dict[str, str] = {}
    for number, name in enumerate([*files.train, *files.test]):
        pixels = np.random.default_rng(number).integers(0, 256, (per_file, 3072), dtype=np.uint8)
        content = pickle.dumps({"data": pixels, files.labels: [k % 10 for k in range(per_file)]})
        (folder / files.folder / name).write_bytes(content)
        sums[name] = hashlib.md5(content).hexdigest()
    parts = [{name: sums[name] for name in part} for part in (files.train, files.test)]
    return dataclasses.replace(files, train=parts[0], test=parts[1])


@pytest.mark.parametrize("files", [CIFAR10, CIFAR100], ids=lambda files: files.name)
def test_images_are_read_channels_first(files: PickledSet, tmp_path: Path) -> None:
    images = read_pickled(written(tmp_path, files), DataConfig(files.name, dir=str(tmp_path)), 10)
    assert images.train[0].shape == (20 * len(files.train), 3, 32, 32)
    first = np.random.default_rng(0).integers(0, 256, (20, 3072), dtype=np.uint8)
    assert (images.train[0][0, 1].ravel() == first[0, 1024:2048]).all()  # red, green, blue, one after the other
    assert images.train[1][:12].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    assert images.md5.keys() == {*files.train, *files.test}


class Harmful:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_a_foreign_file_is_not_unpickled(tmp_path: Path) -> None:
    files = written(tmp_path, CIFAR10)
    touched = tmp_path / "touched"
    (tmp_path / files.folder / "data_batch_2").write_bytes(pickle.dumps(Harmful(touched)))
    with pytest.raises(DataError, match=r"data_batch_2 is not the original file of cifar10: .* it was not opened"):
        read_pickled(files, DataConfig("cifar10", dir=str(tmp_path)), 10)
    assert not touched.exists()
    pickle.loads(pickle.dumps(Harmful(touched)))
    assert touched.exists()  # the file would have done harm


def test_a_missing_file_is_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data_batch_1 cannot be read .*torchvision\.datasets\.CIFAR10\(FOLDER"):
        read_pickled(CIFAR10, DataConfig("cifar10", dir=str(tmp_path)), 10)
