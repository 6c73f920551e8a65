"""Run folders: what is in one, whether it is done, and who works on it."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from normbench.errors import RunFolderError

LAYOUT = 1  # of a run folder; a result of another layout is not read as if it were of this one
CONFIG, METRICS, RESULT, ERROR, CHECKPOINT, LOCK = (
    "config.yaml",
    "metrics.csv",
    "result.json",
    "error.txt",
    "checkpoint.ckpt",
    ".lock",
)

CURVE_COLUMNS = ("step", "samples", "epoch", "seconds", "split", "metric", "value")  # of metrics.csv

LOOK_SECONDS = 0.3  # `state` holds a run's lock for an instant: a worker that comes just then waits for it

Progress = Callable[[int], None]  # told the optimizer steps done
State = Literal["done", "running", "failed", "interrupted", "waiting"]


def write_atomically(path: Path, text: str) -> None:
    """Writes `text` so that `path` is either as it was or whole. Raises RunFolderError where it cannot."""
    fresh: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
            fresh = Path(file.name)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.chmod(0o644)
        fresh.replace(path)
    except OSError as error:
        if fresh is not None:
            fresh.unlink(missing_ok=True)
        raise unwritable(path, error) from None


def unwritable(path: Path, error: OSError) -> RunFolderError:
    """The one line for a folder that cannot be written to."""
    return RunFolderError(
        f"cannot write {path}: {error.strerror}; free some space or name another folder (--runs, --reports)"
    )


def make_folder(path: Path) -> None:
    """Creates a folder, or raises RunFolderError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        if not os.access(path, os.W_OK):
            raise PermissionError(13, "Permission denied")
    except OSError as error:
        raise unwritable(path, error) from None


def read_result(folder: Path) -> dict[str, Any] | None:
    """The result of a finished run, or None. A broken file or one of another layout raises RunFolderError."""
    path = folder / RESULT
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        result = json.loads(text)
    except ValueError:
        result = None
    if not isinstance(result, dict):
        raise RunFolderError(f"{path} is not a whole JSON object: delete this file to have the run repeated")
    if result.get("layout") != LAYOUT:
        raise RunFolderError(
            f"{path} has layout {result.get('layout', 'unknown')}, this version reads {LAYOUT}: "
            "move the folder away to have the run repeated, or use the version that wrote it"
        )
    return result


def finished_ids(study_folder: Path) -> set[str]:
    """Ids of the runs of a study that have a result."""
    if not study_folder.is_dir():
        return set()
    return {entry.name for entry in os.scandir(study_folder) if Path(entry.path, RESULT).exists()}


def state(folder: Path) -> State:
    """What a run is doing, told from its folder alone."""
    if (folder / RESULT).exists():
        return "done"
    if not (folder / LOCK).exists():
        return "waiting"
    try:
        with FileLock(folder / LOCK, timeout=0):
            pass
    except Timeout:
        return "running"
    return "failed" if (folder / ERROR).exists() else "interrupted"


@contextmanager
def claimed(folder: Path) -> Iterator[bool]:
    """Holds the run's lock; yields False where another process holds it. A killed process lets go of it."""
    make_folder(folder)
    lock = FileLock(folder / LOCK, timeout=LOOK_SECONDS)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()
