"""A run folder: what is in it, whether it is done, and who works on it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from filelock import FileLock, Timeout

from normbench.errors import RunFolderError
from normbench.spec.document import read_yaml, yaml_text
from normbench.store.files import make_folder, remove_leftovers, unwritable, write_atomically
from normbench.store.leftovers import Say, clear_file, clear_folder, set_aside, to_stderr
from normbench.store.points import read_points
from normbench.store.result import LAYOUT, Result, RunIdOf, json_text, parsed, problem

if TYPE_CHECKING:
    import pandas as pd

CONFIG, METRICS, RESULT, ERROR, CHECKPOINT, WEIGHTS, ARRAYS, LOCK = (
    "config.yaml",
    "metrics.csv",
    "result.json",
    "error.txt",
    "checkpoint.ckpt",
    "weights.ckpt",
    "arrays",
    ".lock",
)
PREDICTIONS = "test_predictions.npz"
# Files that a run writes over; result.json and checkpoint.ckpt are looked at first, and said by who looks.
WRITTEN = (CONFIG, METRICS, ERROR, WEIGHTS, PREDICTIONS, CHECKPOINT + ".new", WEIGHTS + ".new")

LOOK_SECONDS = 0.3  # `state` holds a run's lock for an instant: a worker that comes just then waits for it

Progress = Callable[[int], None]  # told the optimizer steps done
State = Literal["done", "running", "failed", "interrupted", "waiting", "broken"]
STATES: tuple[State, ...] = ("done", "running", "failed", "interrupted", "broken", "waiting")


RUN_ID = re.compile(r"[0-9a-f]{16}")


def place_of(path: str | Path, run_id: str) -> RunFolder:
    """The folder of run `run_id` at `path`: a name that is an id says which run it is, any other is a user's own."""
    return RunFolder(path, run_id=None if RUN_ID.fullmatch(Path(path).name) else run_id)


class RunFolder:
    """One run's folder. Nothing is read or created before it is asked for.

    Args:
        path: The folder; its name is the run's id.
        run_id_of: See `normbench.store.result.problem`.
        run_id: The run's id, for a folder that a user named and that lies in no store.

    Example:
        >>> folder = RunFolder("runs/0123456789abcdef")
        >>> folder.id, folder.state(), folder.result()
        ('0123456789abcdef', 'waiting', None)
    """

    def __init__(self, path: str | Path, run_id_of: RunIdOf | None = None, run_id: str | None = None) -> None:
        self.path, self._run_id_of, self._run_id = Path(path), run_id_of, run_id

    def __repr__(self) -> str:
        return f"RunFolder({str(self.path)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RunFolder) and self.path == other.path

    def __hash__(self) -> int:
        return hash(self.path)

    @property
    def id(self) -> str:
        """The run's id: the folder's name, where no other was given."""
        return self._run_id or self.path.name or self.path.resolve().name

    @property
    def metrics_path(self) -> Path:
        """The curves: CURVE_COLUMNS as CSV."""
        return self.path / METRICS

    @property
    def checkpoint_path(self) -> Path:
        """Where an unfinished run goes on; not there once the run is done."""
        return self.path / CHECKPOINT

    @property
    def weights_path(self) -> Path:
        """The trained weights, where the run keeps them."""
        return self.path / WEIGHTS

    @property
    def result_path(self) -> Path:
        """What makes the run done."""
        return self.path / RESULT

    @property
    def error_path(self) -> Path:
        """Traceback of the last failure."""
        return self.path / ERROR

    # Configuration, result, error.

    def config(self) -> dict[str, Any]:
        """The configuration as a nested mapping. Raises UsageError where config.yaml is missing or unreadable."""
        return read_yaml(self.path / CONFIG, "configuration")

    def write_config(self, tree: Mapping[str, Any]) -> None:
        """Writes config.yaml. Raises RunFolderError where it cannot."""
        write_atomically(self.path / CONFIG, yaml_text(dict(tree)))

    def problem(self) -> str | None:
        """Why result.json cannot count, in words that follow its name; None if it can or is not there."""
        return self._read()[1]

    def result(self) -> Result | None:
        """The result of a finished run, or None without result.json. A broken one raises RunFolderError."""
        result, why = self._read()
        if why is not None:
            raise RunFolderError(f"{self.result_path} {why}: `normbench run` sets it aside and repeats the run")
        return result

    def trained_id(self) -> str | None:
        """The id of the run whose result lies here, whatever the folder is called; None without a readable one."""
        result, _ = self._read()
        return None if result is None else str(result.get("run_id"))

    def write_result(self, result: Mapping[str, Any]) -> Result:
        """Writes result.json, the last file of a run, and returns what it holds: see `normbench.store.result.plain`.

        `layout` is filled in, and `run_id` where it is missing. Raises RunFolderError for a result that would not
        count here, or where it cannot write.
        """
        full = {"layout": LAYOUT, "run_id": self.id, **result, **{"layout": LAYOUT}}
        text = json_text(full)
        why = problem(parsed(text), self.id)
        if why is not None:
            raise RunFolderError(f"{self.result_path} is not written: what was to be its content {why}")
        write_atomically(self.result_path, text)
        written = parsed(text)
        assert written is not None
        return written

    def _read(self) -> tuple[Result | None, str | None]:
        try:
            text = self.result_path.read_bytes().decode("utf-8", errors="replace")
        except (FileNotFoundError, NotADirectoryError):
            return None, None
        except OSError as error:
            return None, f"cannot be read: {error.strerror}"
        result = parsed(text)
        return result, problem(result, self.id, self._run_id_of)

    def set_aside(self, name: str = RESULT, why: str | None = None) -> str:
        """Renames an unusable file to `NAME.broken-1` (-2, ...) and returns the one line that says so.

        Call it while the run is claimed. Raises RunFolderError where the file cannot be renamed.

        Args:
            name: The file.
            why: What is wrong with it; for result.json it is found out.
        """
        why = why or (self.problem() if name == RESULT else None) or "cannot be used"
        return set_aside(self.path / name, why)

    def error(self) -> str | None:
        """The last line of the last failure; None without one."""
        try:
            lines = self.error_path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            return f"{ERROR} cannot be read: {error.strerror}"
        return lines[-1] if lines else "no reason was recorded"

    def write_error(self, text: str) -> None:
        """Writes error.txt, the line for a user last; an empty text removes it."""
        if text:
            write_atomically(self.error_path, text)
        else:
            self.error_path.unlink(missing_ok=True)

    # Who works on it.

    def state(self) -> State:
        """What the run is doing, told from its folder alone; running is told by the lock and nothing else."""
        result, why = self._read()
        return "done" if result is not None and why is None else self.unfinished_state(broken=why is not None)

    def unfinished_state(self, broken: bool = False) -> State:
        """The state of a run whose result is known to be missing, or `broken`."""
        if self._is_locked():
            return "running"
        if broken:
            return "broken"
        if self.error_path.exists():
            return "failed"
        # The lock's file alone may be removed by whoever tidies up: a configuration or curves say the same.
        begun = any((self.path / name).exists() for name in (LOCK, CONFIG, METRICS, CHECKPOINT))
        return "interrupted" if begun else "waiting"

    def _is_locked(self) -> bool:
        if not (self.path / LOCK).exists():
            return False
        try:
            with FileLock(self.path / LOCK, timeout=0):
                return False
        except Timeout:
            return True
        except OSError:  # a folder that can only be read: nobody can train in it
            return False

    @contextmanager
    def claim(self, say: Say = to_stderr) -> Iterator[bool]:
        """Holds the run's lock; yields False where another process holds it. A killed process lets go of it.

        Whoever gets it finds no leftovers of an interrupted write, and nothing that cannot be where it lies. Raises
        RunFolderError where the folder cannot be written to.

        Args:
            say: Told in one line what was kept under another name.
        """
        if RUN_ID.fullmatch(self.path.name):  # any other is a user's own file
            clear_folder(self.path, say)
        make_folder(self.path)
        if (self.path / LOCK).is_symlink() or (self.path / LOCK).is_dir():
            say(set_aside(self.path / LOCK, "is not a file"))
        lock = FileLock(self.path / LOCK, timeout=LOOK_SECONDS)
        try:
            lock.acquire()
        except Timeout:
            yield False
            return
        except OSError as error:
            raise unwritable(self.path / LOCK, error) from None
        try:
            remove_leftovers(self.path, owned=True)
            for name in WRITTEN:
                clear_file(self.path / name, say)
            clear_folder(self.path / ARRAYS, say)
            yield True
        finally:
            lock.release()

    # What was measured.

    def curves(self) -> pd.DataFrame:
        """The logged points: CURVE_COLUMNS, empty without a file. A last line that is being written is left out."""
        return read_points([self.metrics_path])[0].to_pandas()
