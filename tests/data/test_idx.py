"""IDX files: read in place, compressed or not; truncated, foreign and unoriginal ones are refused by name."""

import gzip
import hashlib
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from normbench.data.builtin import KMNIST
from normbench.data.idx import FILES, FileSet, read_files
from normbench.data.registry import DATASETS, read
from normbench.errors import DataError
from normbench.spec.schema import DataConfig

Copy = Callable[[Path, str, Path], Path]


@pytest.fixture(autouse=True)
def _own_places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fresh_files: None) -> None:
    monkeypatch.delenv("NORMBENCH_DATA_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def made(folder: Path) -> DataConfig:
    return DataConfig("made_up", dir=str(folder))


def replace_file(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)


def test_good_files_are_read(raw: Path, tmp_path: Path) -> None:
    images = read(made(tmp_path))
    assert images.train[0].shape == (60_000, 28, 28)
    assert images.test[0].shape == (10_000, 28, 28)
    assert images.train[0][300, 0, :2].tolist() == [1, 44]
    assert images.test[1].tolist()[:3] == [0, 7, 4]
    assert images.md5 == {name: hashlib.md5((raw / name).read_bytes()).hexdigest() for name in FILES}


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_file_is_named_with_its_length(raw: Path, tmp_path: Path, name: str) -> None:
    content = (raw / name).read_bytes()
    replace_file(raw / name, content[:-100])
    with pytest.raises(DataError) as caught:
        read(made(tmp_path))
    said = str(caught.value)
    assert str(raw / name) in said
    assert f"{len(content) - 100:,} bytes, expected {len(content):,}" in said
    assert "copy it again, or move it away to have it downloaded" in said
    assert (raw / name).stat().st_size == len(content) - 100, "nothing is deleted or mended by itself"


def test_a_longer_and_an_empty_file_are_refused_too(raw: Path, tmp_path: Path) -> None:
    name = FILES[1]
    replace_file(raw / name, (raw / name).read_bytes() + b"\0")
    with pytest.raises(DataError, match=r"60,009 bytes, expected 60,008"):
        read(made(tmp_path))
    replace_file(raw / name, b"")
    with pytest.raises(DataError, match=r" 0 bytes, expected 60,008"):
        read(made(tmp_path))


def test_a_foreign_file_of_the_right_length_is_refused(raw: Path, tmp_path: Path) -> None:
    for name, shape in ((FILES[0], "60000 x 28 x 28"), (FILES[3], "10000")):
        good = (raw / name).read_bytes()
        replace_file(raw / name, b"PK\3\4" + good[4:])
        with pytest.raises(DataError, match=f"{name} does not begin as an IDX file of {shape} bytes does.*copy it"):
            read(made(tmp_path))
        replace_file(raw / name, struct.pack(">HBBI", 0, 8, 1, 5) + good[8:])
        with pytest.raises(DataError, match="does not begin as an IDX file"):
            read(made(tmp_path))
        replace_file(raw / name, good)


def test_an_html_page_instead_of_a_file_is_refused(raw: Path, tmp_path: Path) -> None:
    replace_file(raw / FILES[2], b"<html>404</html>")
    with pytest.raises(DataError, match=r"16 bytes, expected 7,840,016"):
        read(made(tmp_path))


def test_other_pixels_under_the_name_of_mnist_are_refused(made_up: Path, copy_of: Copy, tmp_path: Path) -> None:
    folder = copy_of(made_up / "FashionMNIST" / "raw", "MNIST", tmp_path)
    with pytest.raises(DataError) as caught:
        read(DataConfig("mnist", dir=str(tmp_path)))
    said = str(caught.value)
    assert f"{folder / FILES[0]} is not the original file of mnist: its MD5 is " in said
    assert "expected 6bbc9ace898e44ae57da46a324031adb; move it away" in said


def test_one_changed_byte_of_mnist_is_noticed(real_mnist: Path, copy_of: Copy, tmp_path: Path) -> None:
    folder = copy_of(real_mnist / "MNIST" / "raw", "MNIST", tmp_path)
    content = bytearray((folder / FILES[3]).read_bytes())
    content[5000] ^= 1
    replace_file(folder / FILES[3], bytes(content))
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte is not the original file .*27ae3e4e09519cfbb04c"):
        read(DataConfig("mnist", dir=str(tmp_path)))


@pytest.mark.parametrize(("name", "folder"), [("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST")])
def test_other_pixels_of_the_right_size_are_refused_for_every_known_set(
    made_up: Path, copy_of: Copy, tmp_path: Path, name: str, folder: str
) -> None:
    raw = copy_of(made_up / "FashionMNIST" / "raw", folder, tmp_path)
    expected = DATASETS.get(name).facts["files"].md5[0]
    with pytest.raises(DataError) as caught:
        read(DataConfig(name, dir=str(tmp_path)))
    said = str(caught.value)
    assert f"{raw / FILES[0]} is not the original file of {name}: its MD5 is " in said
    assert f"expected {expected}; move it away" in said


def test_every_known_set_of_files_has_md5s() -> None:
    sets = {name: DATASETS.get(name).facts.get("files") for name in DATASETS if name != "made_up"}
    assert {name for name, files in sets.items() if files} == {"mnist", "fashion_mnist", "kmnist"}
    for name, files in sets.items():
        if files and name != "kmnist":  # of which only the archives to download have published MD5s
            assert len(set(files.md5)) == 4


@pytest.mark.parametrize(("low", "high"), [(1, 10), (0, 255)])
def test_labels_out_of_range_are_named_with_their_file_and_range(
    raw: Path, tmp_path: Path, low: int, high: int
) -> None:
    labels = (np.arange(60_000) % (high - low + 1) + low).astype(np.uint8)
    replace_file(raw / FILES[1], struct.pack(">HBBI", 0, 8, 1, 60_000) + labels.tobytes())
    for name in ("made_up", "fashion_mnist"):  # of the latter, the range says more than the MD5
        with pytest.raises(DataError) as caught:
            read(DataConfig(name, dir=str(tmp_path)))
        assert f"{raw / FILES[1]}: labels range from {low} to {high}, expected 0 to 9" in str(caught.value)


def test_archives_are_read_in_place(raw: Path, tmp_path: Path) -> None:
    plain = read(made(tmp_path))
    for name in (FILES[0], FILES[3]):
        content = gzip.compress((raw / name).read_bytes(), 1)
        (raw / name).unlink()
        (raw / f"{name}.gz").write_bytes(content)
    packed = read(made(tmp_path))
    assert packed is not plain
    assert packed.digest == plain.digest
    assert packed.md5 == plain.md5, "of the uncompressed files"
    assert {path.name for path in raw.iterdir()} == {f"{FILES[0]}.gz", FILES[1], FILES[2], f"{FILES[3]}.gz"}


def test_a_damaged_archive_is_named(raw: Path, tmp_path: Path) -> None:
    good = gzip.compress((raw / FILES[3]).read_bytes())
    (raw / FILES[3]).unlink()
    for content in (b"x\n", good[:-9], good[:20] + b"????" + good[24:], b""):
        (raw / f"{FILES[3]}.gz").write_bytes(content)
        with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte.gz (cannot be read|has) .*: copy it again|; copy"):
            read(made(tmp_path))


def test_uncompressed_files_are_mapped_not_copied(raw: Path, tmp_path: Path) -> None:
    pixels = read(made(tmp_path)).train[0]
    owner = pixels
    while isinstance(owner.base, np.ndarray):
        owner = owner.base
    assert isinstance(owner, np.memmap)
    pixels[0, 0, 0] = 99  # copy on write: the file is not touched
    assert (raw / FILES[0]).read_bytes()[16] == 0


def test_files_of_another_set_are_told_where_no_md5_of_its_own_is_known(raw: Path, tmp_path: Path) -> None:
    """MNIST's four files in KMNIST's folder were kmnist."""
    own = read_files(raw, FileSet("KMNIST"), "kmnist")[2]
    assert own
    its = FileSet("MNIST", tuple(own.values()))
    with pytest.raises(DataError, match=rf"{FILES[0]} is a file of mnist, not of kmnist: move it away"):
        read_files(raw, FileSet("KMNIST", others=(("mnist", its),)), "kmnist")
    assert [name for name, _ in KMNIST.others] == ["mnist", "fashion_mnist"]
