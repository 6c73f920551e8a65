"""Downloads, from a real server on this machine: all four files or none, checked, into torchvision's layout."""

import gzip
import hashlib
import http.client
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock, Timeout
from torchvision import datasets

from normbench.data import download
from normbench.data.idx import FILES
from normbench.data.places import cache_dir
from normbench.data.registry import read
from normbench.data.source import ensure
from normbench.errors import DataError
from normbench.spec.schema import DataConfig

from .conftest import Server


@pytest.fixture(autouse=True)
def _own_places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fresh_files: None) -> None:
    monkeypatch.delenv("NORMBENCH_DATA_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def made(folder: Path) -> DataConfig:
    return DataConfig("made_up", dir=str(folder))


def test_a_download_lays_the_files_out_as_torchvision_does(
    made_up: Path, mirror: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = made_up / "FashionMNIST" / "raw"
    mirror.files = {f"{name}.gz": gzip.compress((raw / name).read_bytes(), 1) for name in FILES}
    resources = [(name, hashlib.md5(content).hexdigest()) for name, content in mirror.files.items()]
    monkeypatch.setattr(datasets.FashionMNIST, "resources", resources)
    (tmp_path / "new").mkdir()
    assert ensure(made(tmp_path / "new")) == "made_up"
    assert f"downloading made_up into data.dir={tmp_path / 'new'}, which is empty" in capsys.readouterr().err
    folder = tmp_path / "new" / "FashionMNIST" / "raw"
    assert {path.name for path in folder.iterdir()} == set(FILES)
    assert all((folder / name).read_bytes() == (raw / name).read_bytes() for name in FILES)
    assert all((folder / name).stat().st_mode & 0o777 == 0o644 for name in FILES)
    assert len(read(made(tmp_path / "new")).train[1]) == 60_000
    assert len(datasets.FashionMNIST(tmp_path / "new", train=False)) == 10_000
    ensure(made(tmp_path / "new"))
    assert len(mirror.requests) == 4, "what is there is not downloaded again"


def test_a_download_goes_to_the_cache_where_no_folder_is_named(mirror: Server) -> None:
    assert ensure(DataConfig("mnist")) == "mnist"
    cache = cache_dir()
    assert cache is not None
    assert (cache / "MNIST" / "raw" / FILES[0]).read_text() == FILES[0]


@pytest.mark.parametrize("how", ["wrong content", "cut connection", "not found"])
def test_a_broken_download_leaves_no_file_of_that_name(mirror: Server, tmp_path: Path, how: str) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    broken = f"{FILES[2]}.gz"
    good = mirror.files[broken]
    if how == "wrong content":
        mirror.files[broken] = gzip.compress(b"something else", mtime=0)
    elif how == "cut connection":
        mirror.files[broken] = good[: len(good) // 2]
    else:
        del mirror.files[broken]
    with pytest.raises(DataError, match=r"made_up is neither in .* nor downloadable .*: set NORMBENCH_DATA_DIR"):
        ensure(made(folder))
    assert [path.name for path in folder.rglob("*")] == [".FashionMNIST.lock"], (
        "others would look like a damaged folder"
    )
    mirror.files[broken] = good
    ensure(made(folder))
    assert {path.name for path in (folder / "FashionMNIST" / "raw").iterdir()} == set(FILES)


def test_a_connection_cut_in_the_middle_is_noticed(mirror: Server, tmp_path: Path) -> None:
    mirror.files = {name: content[:10] for name, content in mirror.files.items()}
    mirror.promise = 100
    with pytest.raises(DataError, match="nor downloadable"):
        ensure(DataConfig("made_up"))
    assert not list(tmp_path.rglob("*ubyte*"))


def test_a_server_that_does_not_speak_http_is_a_failed_download(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import socketserver

    class Nonsense(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(1000)
            self.request.sendall(b"welcome to the hotel's network\r\n\r\n")

    with socketserver.TCPServer(("127.0.0.1", 0), Nonsense) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        monkeypatch.setattr(datasets.FashionMNIST, "mirrors", [f"http://127.0.0.1:{server.server_address[1]}/"])
        with pytest.raises(DataError, match="nor downloadable"):
            ensure(DataConfig("made_up"))
        server.shutdown()


def test_what_an_interrupted_download_left_in_the_cache_is_completed(mirror: Server) -> None:
    assert ensure(DataConfig("mnist")) == "mnist"
    cache = cache_dir()
    assert cache is not None
    raw = cache / "MNIST" / "raw"
    (raw / FILES[1]).unlink()
    (cache / ".MNIST-half").mkdir()
    mirror.requests.clear()
    assert ensure(DataConfig("mnist")) == "mnist"
    assert mirror.requests == [f"{FILES[1]}.gz"]
    assert {path.name for path in raw.iterdir()} == set(FILES)
    assert not (cache / ".MNIST-half").exists()


def test_archives_in_the_cache_are_not_downloaded_again(mirror: Server) -> None:
    cache = cache_dir()
    assert cache is not None
    raw = cache / "MNIST" / "raw"
    raw.mkdir(parents=True)
    (raw / f"{FILES[0]}.gz").write_bytes(mirror.files[f"{FILES[0]}.gz"])
    assert ensure(DataConfig("mnist")) == "mnist"
    assert len(mirror.requests) == 3


def test_a_connection_that_trickles_is_given_up_between_two_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "FILE_SECONDS", -1)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(5)  # without a bound the reader waits for the second byte, and this is what ends it
        theirs.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nx")
        response: Any = http.client.HTTPResponse(ours)
        response.begin()
        with pytest.raises(OSError, match="images took more than -1 s"):
            download._read_with_progress(response, "images")


def test_who_waits_for_the_download_of_another_process_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(download, "LOCK_SECONDS", 0)
    files = download.FileSet("FashionMNIST")
    with FileLock(tmp_path / ".FashionMNIST.lock"), pytest.raises(Timeout):
        download.download(files, tmp_path)
    line = f"waiting for another process that downloads FashionMNIST into {tmp_path}, for 0 min at most"
    assert capsys.readouterr().err.strip() == line
