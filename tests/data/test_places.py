"""Which folder counts, and what is said of a named one that is almost right."""

from collections.abc import Callable
from pathlib import Path

import pytest

from normbench.data.idx import FILES
from normbench.data.places import cache_dir
from normbench.data.registry import raw_folder, read
from normbench.data.source import available, ensure
from normbench.errors import DataError, UsageError
from normbench.spec.schema import DataConfig

Copy = Callable[[Path, str, Path], Path]


@pytest.fixture(autouse=True)
def _own_places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fresh_files: None) -> None:
    monkeypatch.delenv("NORMBENCH_DATA_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def made(folder: Path) -> DataConfig:
    return DataConfig("made_up", dir=str(folder))


def test_data_dir_comes_before_the_environment_and_that_before_the_cache(
    made_up: Path, copy_of: Copy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named, environment, cache = tmp_path / "named", tmp_path / "environment", cache_dir()
    assert cache == tmp_path / "cache" / "normbench" / "data"
    source = made_up / "FashionMNIST" / "raw"
    assert raw_folder(DataConfig("made_up")) is None
    in_cache = copy_of(source, "FashionMNIST", cache)
    assert raw_folder(DataConfig("made_up")) == in_cache
    monkeypatch.setenv("NORMBENCH_DATA_DIR", str(environment))
    with pytest.raises(DataError, match=f"NORMBENCH_DATA_DIR={environment} does not exist: .*or unset NORMBENCH_DATA"):
        raw_folder(DataConfig("made_up"))
    in_environment = copy_of(source, "FashionMNIST", environment)
    assert raw_folder(DataConfig("made_up")) == in_environment
    with pytest.raises(DataError, match=f"data.dir={named} does not exist: correct it, or make it"):
        raw_folder(made(named))
    assert raw_folder(made(tmp_path / "environment")) == in_environment
    assert copy_of(source, "FashionMNIST", named) == raw_folder(made(named))


def test_a_home_folder_may_be_written_with_a_tilde(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert raw_folder(DataConfig("made_up", dir="~")) == raw
    monkeypatch.setenv("NORMBENCH_DATA_DIR", "~")
    assert raw_folder(DataConfig("made_up")) == raw
    monkeypatch.setenv("XDG_CACHE_HOME", "~/cache")
    assert cache_dir() == tmp_path / "cache" / "normbench" / "data"


def test_an_unknown_data_set_is_named() -> None:
    with pytest.raises(UsageError, match=r"unknown data set 'mnits': did you mean 'mnist'\? known: cifar10, "):
        ensure(DataConfig("mnits"))


# Folders that are almost right: every answer is one line that names the folder, what lies there and the remedy.


def lay(folder: Path, names: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"x")


DOTTED = [name.replace("-idx", ".idx") for name in FILES]
ALL = list(FILES)
NEAR = {
    "in the folder itself": ("", ALL, "{top} has t10k-images-idx3-ubyte: move the four files to {top}/MNIST/raw"),
    "archives in the folder itself": ("", [f"{n}.gz" for n in ALL], "{top} has t10k-images-idx3-ubyte.gz: move"),
    "raw is missing": ("MNIST", ALL, "{top}/MNIST has t10k-images-idx3-ubyte: move the four files to {top}/MNIST/raw"),
    "one level too deep": ("data/MNIST/raw", ALL, "they are in {top}/data/MNIST/raw: name {top}/data"),
    "MNIST twice": ("MNIST/MNIST/raw", ALL, "they are in {top}/MNIST/MNIST/raw: name {top}/MNIST"),
    "dotted names": ("MNIST/raw", DOTTED, "{top}/MNIST/raw has t10k-images.idx3-ubyte: rename it to t10k-images-idx3-"),
    "other case": ("mnist/RAW", ALL, "{top}/mnist/RAW has t10k-images-idx3-ubyte: move the four files to"),
    "another set": ("FashionMNIST/raw", ALL, "it has FashionMNIST: name the folder above MNIST/raw"),
    "something else": ("cats", ["cat.png"], "it has cats: name the folder above MNIST/raw"),
    "one missing": ("MNIST/raw", ALL[1:], "{top}/MNIST/raw/train-images-idx3-ubyte is missing, but"),
    "one dotted": ("MNIST/raw", [DOTTED[0], *ALL[1:]], "is missing: rename train-images.idx3-ubyte"),
}


@pytest.mark.parametrize("key", ["data.dir", "NORMBENCH_DATA_DIR"])
@pytest.mark.parametrize("case", NEAR)
def test_a_near_miss_is_named_and_nothing_is_made_or_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], key: str, case: str
) -> None:
    where, names, said = NEAR[case]
    top = tmp_path / "top"
    lay(top / where, names)
    before = sorted(tmp_path.rglob("*"))
    config = DataConfig("mnist", dir=str(top) if key == "data.dir" else None)
    if key != "data.dir":
        monkeypatch.setenv(key, str(top))
    for call in (available, ensure, read):
        with pytest.raises(DataError) as caught:
            call(config)
        line = str(caught.value)
        assert line.startswith(f"{key}={top} does not have the files of mnist (4 in MNIST/raw): ")
        assert said.format(top=top) in line
        assert "\n" not in line
    assert sorted(tmp_path.rglob("*")) == before
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("below", ["MNIST", "MNIST/raw"])
def test_a_person_who_names_a_folder_too_deep_is_told_which(tmp_path: Path, below: str) -> None:
    lay(tmp_path / "MNIST" / "raw", ALL)
    with pytest.raises(DataError, match=f"they are in {tmp_path}/MNIST/raw: name {tmp_path}$"):
        ensure(DataConfig("mnist", dir=str(tmp_path / below)))


def test_the_files_of_another_set_are_never_advised(tmp_path: Path) -> None:
    """They have the same names: a person who moved MNIST's digits would have had them checked as clothes."""
    lay(tmp_path / "MNIST" / "raw", ALL)
    with pytest.raises(DataError) as caught:
        ensure(DataConfig("fashion_mnist", dir=str(tmp_path / "MNIST")))
    assert "move" not in str(caught.value)
    assert "it has raw: name the folder above FashionMNIST/raw" in str(caught.value)
    lay(tmp_path / "mnist project" / "given", ALL)
    with pytest.raises(DataError, match="move the four files to"):
        ensure(DataConfig("mnist", dir=str(tmp_path / "mnist project" / "given")))


@pytest.mark.parametrize("call", [available, ensure, read])
def test_a_folder_that_does_not_exist_is_not_made(tmp_path: Path, call: Callable[[DataConfig], object]) -> None:
    with pytest.raises(DataError, match=r"data.dir=.*dta does not exist: correct it, or make it \(mkdir -p .*or leave"):
        call(DataConfig("mnist", dir=str(tmp_path / "dta")))
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match=r"file cannot be read .Not a directory.: name a folder"):
        ensure(DataConfig("mnist", dir=str(tmp_path / "file")))


def test_an_empty_named_folder_without_a_network_is_an_error_not_a_fall_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    config = DataConfig("mnist", dir=str(tmp_path / "empty"))
    for _ in range(2):
        with pytest.raises(DataError, match=r"mnist is neither in data.dir=.*empty nor downloadable .*mnist_5k"):
            ensure(config)
        assert "using the embedded" not in capsys.readouterr().err
    assert not [path for path in (tmp_path / "empty").iterdir() if not path.name.startswith(".")]


# Machines where the cache cannot be.


@pytest.mark.usefixtures("no_home")
def test_an_unknown_user_without_a_home_gets_the_embedded_digits(capfd: pytest.CaptureFixture[str]) -> None:
    assert cache_dir() is None
    assert available(DataConfig("mnist_5k")) == ensure(DataConfig("mnist_5k")) == "mnist_5k"
    assert capfd.readouterr().err == ""
    assert available(DataConfig("mnist")) == "mnist"
    assert ensure(DataConfig("mnist")) == available(DataConfig("mnist")) == "mnist_5k"
    assert "(there is no cache folder: set HOME or XDG_CACHE_HOME)" in capfd.readouterr().err
    for call in (ensure, read):
        with pytest.raises(DataError, match="fashion_mnist is n"):
            call(DataConfig("fashion_mnist"))


@pytest.mark.usefixtures("no_home")
def test_an_unknown_user_needs_no_cache_where_the_files_are(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NORMBENCH_DATA_DIR", str(raw.parent.parent))
    assert available(DataConfig("made_up")) == ensure(DataConfig("made_up")) == "made_up"
    assert len(read(DataConfig("made_up")).test[1]) == 10_000


@pytest.mark.usefixtures("no_home")
def test_a_tilde_without_a_home_names_home() -> None:
    with pytest.raises(DataError, match=r"data.dir=~/data: there is no home folder: set HOME"):
        ensure(DataConfig("mnist", dir="~/data"))
