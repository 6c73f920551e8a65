"""Which data set is really used: announced every time, tried again, and the same for plan and run."""

import shutil
from pathlib import Path

import pytest
from torchvision import datasets

from normbench.data.idx import FILES
from normbench.data.places import cache_dir
from normbench.data.source import available, ensure, on_disk
from normbench.errors import DataError
from normbench.spec.schema import DataConfig

from .conftest import Server

MNIST = DataConfig("mnist")


@pytest.fixture(autouse=True)
def _own_places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fresh_files: None) -> None:
    monkeypatch.delenv("NORMBENCH_DATA_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_without_a_network_the_embedded_digits_are_used_and_it_is_said_each_time(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert available(MNIST) == "mnist"  # nobody has tried yet
    for _ in range(3):
        assert ensure(MNIST) == "mnist_5k"
        out, err = capfd.readouterr()
        assert out == ""
        assert len(err.strip().splitlines()) == 1
        assert err.startswith(f"warning: mnist is neither in {cache_dir()} nor downloadable (http://127.0.0.1:9/")
        assert "using the embedded mnist_5k" in err
        assert available(MNIST) == "mnist_5k", "planning agrees with running from now on"
    assert not any(tmp_path.rglob("*ubyte*"))


def test_the_network_is_tried_again_whatever_failed_before(mirror: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(datasets.MNIST, "mirrors", [f"{mirror.url}nothing/"])
        for attempt in (1, 2, 3):
            assert ensure(MNIST) == "mnist_5k"
            assert len(mirror.requests) == attempt, "no note and no memory keeps a command from asking"
    assert available(MNIST) == "mnist_5k"
    assert ensure(MNIST) == "mnist"
    assert available(MNIST) == "mnist"
    cache = cache_dir()
    assert cache is not None
    assert not list(cache.glob("*.unavailable"))
    shutil.rmtree(cache / "MNIST")
    assert available(MNIST) == "mnist", "the last attempt succeeded"


def test_files_that_turn_up_end_the_fall_back(mirror: Server, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.MNIST, "mirrors", ["http://127.0.0.1:9/"])
        assert ensure(MNIST) == "mnist_5k"
    raw = tmp_path / "named" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in FILES:
        (raw / name).write_bytes(b"x")
    named = DataConfig("mnist", dir=str(tmp_path / "named"))
    assert available(named) == ensure(named) == "mnist"
    assert mirror.requests == []


def test_the_fall_back_is_not_taken_where_it_is_not_allowed() -> None:
    config = DataConfig("mnist", allow_embedded=False)
    with pytest.raises(DataError) as caught:
        ensure(config)
    said = str(caught.value)
    assert "mnist is neither in" in said
    assert "set NORMBENCH_DATA_DIR to a folder with MNIST/raw/*-ubyte, or data.name=mnist_5k" in said
    assert available(config) == "mnist"


def test_only_mnist_has_a_stand_in() -> None:
    with pytest.raises(DataError, match=r"fashion_mnist is neither in .*FashionMNIST/raw/\*-ubyte$"):
        ensure(DataConfig("fashion_mnist"))


@pytest.mark.parametrize("cache", ["/dev/null/cache", "/proc/nothing"])
def test_a_cache_that_cannot_be_written_is_named_and_plan_and_run_agree(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], cache: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", cache)
    assert ensure(MNIST) == "mnist_5k"
    assert "the cache is set by XDG_CACHE_HOME and HOME" in capfd.readouterr().err
    assert available(MNIST) == "mnist_5k", "in the same command, without any note"


def test_a_cache_that_cannot_be_written_is_not_needed_for_files_that_are_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/cache")
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in FILES:
        (raw / f"{name}.gz").write_bytes(b"x")
    monkeypatch.setenv("NORMBENCH_DATA_DIR", str(tmp_path))
    assert available(MNIST) == ensure(MNIST) == on_disk(MNIST) == "mnist"
    assert capfd.readouterr().err == ""


def test_processes_of_a_run_decide_by_what_is_there_alone(mirror: Server, capfd: pytest.CaptureFixture[str]) -> None:
    assert on_disk(MNIST, announce=False) == "mnist_5k"
    assert capfd.readouterr().err == ""
    assert on_disk(MNIST) == on_disk(MNIST) == "mnist_5k"
    assert capfd.readouterr().err.count("using the embedded mnist_5k") == 1, "once a process"
    assert mirror.requests == [], "none of them asks the network"
    with pytest.raises(DataError, match="a download was tried"):
        on_disk(DataConfig("fashion_mnist"))
