"""Files like the original ones in everything but their pixels, so that a machine without MNIST tests the same."""

import hashlib
import struct
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from torchvision import datasets

from normbench.data import Images, register_dataset
from normbench.data.idx import FILES, FileSet, read_files
from normbench.data.registry import raw_folder
from normbench.spec.registry import DATASETS
from normbench.spec.schema import DataConfig

Copy = Callable[[Path, str, Path], Path]
MADE_UP = FileSet("FashionMNIST")  # Fashion-MNIST's layout, without its MD5s


@pytest.fixture(scope="session", autouse=True)
def _made_up_set() -> Iterator[None]:
    """Registers `made_up`, as a plug-in would: every check but that of the MD5s is on."""

    @register_dataset("made_up", files=MADE_UP)
    def made_up(config: DataConfig) -> Images:
        raw = raw_folder(config)
        assert raw is not None
        train, test, md5 = read_files(raw, MADE_UP, "made_up")
        return Images(train, test, validation=5_000, md5=md5)

    yield
    DATASETS.remove("made_up")


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


@pytest.fixture
def raw(made_up: Path, copy_of: Copy, tmp_path: Path) -> Path:
    """Four good files of made_up under tmp_path."""
    return copy_of(made_up / "FashionMNIST" / "raw", "FashionMNIST", tmp_path)


class Server:
    """A mirror on this machine that serves `files` and counts requests."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.promise = 0  # bytes promised beyond those sent
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.lstrip("/")
                outer.requests.append(name)
                content = outer.files.get(name)
                if content is None:
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(content) + outer.promise))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server with small archives, and torchvision's classes pointed at it (behind a dead mirror)."""
    import gzip

    server = Server()
    server.files = {f"{name}.gz": gzip.compress(name.encode(), mtime=0) for name in FILES}
    resources = [(name, hashlib.md5(content).hexdigest()) for name, content in server.files.items()]
    for kind in (datasets.MNIST, datasets.FashionMNIST):
        monkeypatch.setattr(kind, "mirrors", ["http://127.0.0.1:9/", server.url])
        monkeypatch.setattr(kind, "resources", resources)
    yield server
    server.close()
