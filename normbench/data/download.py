"""Downloads the four files of a data set: all or none, checked, under a lock, within a bounded time.

pooch checks hashes and writes atomically too, but one file at a time, without a lock between processes and without a
bound on a connection that trickles; torchvision writes in place. Both would leave most of this file as it is.
"""

from __future__ import annotations

import gzip
import hashlib
import http.client
import shutil
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from normbench.data.idx import FileSet, lying_file

TIMEOUT_SECONDS = 10
FILE_SECONDS = 60 * TIMEOUT_SECONDS  # the socket's time-out alone lets a trickle last for ever
LOCK_SECONDS = 4 * FILE_SECONDS  # as long as another process may need for the four


def download(files: FileSet, target: Path) -> None:
    """Puts what is missing of the four files under `target`, in torchvision's layout. Raises OSError where it cannot.

    One file alone would look like a damaged folder: they appear together, once all are there and checked.
    """
    from torchvision import datasets

    source = getattr(datasets, files.folder)
    raw = target / files.folder / "raw"
    with _locked(target, files.folder):
        wanted = [
            (archive, md5)
            for archive, md5 in source.resources
            if lying_file(raw, archive.removesuffix(".gz")) is None  # another process may have been here
        ]
        if not wanted:
            return
        for left in target.glob(f".{files.folder}-*"):  # by a process that was killed: we hold the lock
            shutil.rmtree(left, ignore_errors=True)
        fetched = {archive: _fetch(source.mirrors, archive, md5) for archive, md5 in wanted}
        staging = Path(tempfile.mkdtemp(prefix=f".{files.folder}-", dir=target))
        try:
            for archive, content in fetched.items():
                path = staging / archive.removesuffix(".gz")
                path.write_bytes(gzip.decompress(content))
                path.chmod(0o644)
            raw.parent.mkdir(exist_ok=True)
            if raw.exists():
                for path in staging.iterdir():
                    path.replace(raw / path.name)
            else:
                staging.chmod(0o755)  # a temporary folder is its owner's alone
                staging.rename(raw)
        finally:
            shutil.rmtree(staging, ignore_errors=True)


@contextmanager
def _locked(target: Path, name: str) -> Iterator[None]:
    """Holds the lock of a download; who has to wait for another process says so."""
    from filelock import FileLock, Timeout

    lock = FileLock(target / f".{name}.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        line = f"waiting for another process that downloads {name} into {target}, for {LOCK_SECONDS // 60} min at most"
        print(line, file=sys.stderr, flush=True)
        lock.acquire(timeout=LOCK_SECONDS)
    try:
        yield
    finally:
        lock.release()


def _fetch(mirrors: list[str], archive: str, md5: str) -> bytes:
    """The bytes of `archive` from the first mirror that has them whole. Raises OSError where none has."""
    problem = OSError("no mirror is known")
    for mirror in mirrors:
        try:
            with urllib.request.urlopen(mirror + archive, timeout=TIMEOUT_SECONDS) as response:
                content = _read_with_progress(response, archive)
        except (OSError, http.client.HTTPException) as error:  # the latter where something else than HTTP answers
            problem = OSError(f"{mirror}{archive}: {str(error).strip()}")
            continue
        if hashlib.md5(content, usedforsecurity=False).hexdigest() == md5:
            return content
        problem = OSError(f"{mirror}{archive} does not have MD5 {md5}")
    raise problem


def _read_with_progress(response: Any, archive: str) -> bytes:
    from rich.progress import wrap_file

    length = int(response.headers.get("Content-Length") or 0)
    deadline = time.monotonic() + FILE_SECONDS
    chunks: list[bytes] = []
    response.read = response.read1  # returns what has come; `read` waits for all that it was asked for
    with wrap_file(response, total=length, description=f"downloading {archive}", transient=True) as stream:
        while chunk := stream.read(1 << 16):
            chunks.append(chunk)
            if time.monotonic() > deadline:
                raise OSError(f"{archive} took more than {FILE_SECONDS} s")
    return b"".join(chunks)
