"""Files like the original ones in everything but their pixels, so that a machine without MNIST tests the same."""

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from normbench.data.source import FILES

Copy = Callable[[Path, str], Path]


@pytest.fixture(scope="session")
def made_up(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with FashionMNIST/raw: pixels are the image's number, labels go round."""
    folder = tmp_path_factory.mktemp("made_up")
    raw = folder / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for name, count in zip(FILES, (60_000, 60_000, 10_000, 10_000), strict=True):
        if "images" in name:
            numbers = np.arange(count)
            content = np.zeros((count, 28, 28), np.uint8)
            content[:, 0, 0], content[:, 0, 1] = numbers // 256, numbers % 256
            content[:, 1, 0] = name.startswith("train")
            header = struct.pack(">HBBIII", 0, 8, 3, count, 28, 28)
        else:
            content = (np.arange(count) * 7 % 10).astype(np.uint8)
            header = struct.pack(">HBBI", 0, 8, 1, count)
        (raw / name).write_bytes(header + content.tobytes())
    return folder


@pytest.fixture
def copy_of() -> Copy:
    """Lays links to the four files of `source` out under tmp_path as data set `folder`; returns its raw folder."""

    def copy(source: Path, folder: str, to: Path) -> Path:
        raw = to / folder / "raw"
        raw.mkdir(parents=True)
        for name in FILES:
            (raw / name).symlink_to(source / name)
        return raw

    return copy
