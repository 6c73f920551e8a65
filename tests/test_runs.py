"""Run folders: what state a run is in, who works on it, and what happens where nothing can be written."""

import json
import threading
import time
from pathlib import Path

import pytest
from filelock import FileLock

from normbench.errors import RunFolderError
from normbench.store.folder import (
    CONFIG,
    ERROR,
    LAYOUT,
    LOCK,
    RESULT,
    claimed,
    finished_ids,
    make_folder,
    read_result,
    state,
    write_atomically,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "run"
    path.mkdir()
    return path


def test_states(folder: Path) -> None:
    assert state(folder.parent / "nowhere") == "waiting"
    assert state(folder) == "waiting"
    with claimed(folder) as mine:
        assert mine
        assert state(folder) == "running"
        (folder / ERROR).write_text("an older error")
        assert state(folder) == "running", "a failed run that is tried again is running"
    assert state(folder) == "failed"
    (folder / ERROR).unlink()
    assert state(folder) == "interrupted"
    (folder / RESULT).write_text("{}")
    assert state(folder) == "done"


def test_asking_for_the_state_leaves_no_trace(folder: Path) -> None:
    state(folder)
    assert list(folder.iterdir()) == []


def test_a_run_has_one_owner(folder: Path) -> None:
    with claimed(folder) as mine:
        with claimed(folder) as theirs:
            assert mine
            assert not theirs
        assert state(folder) == "running", "the one who came too late does not open the lock"
    with claimed(folder) as mine:
        assert mine


def test_a_lock_is_let_go_of_after_an_error(folder: Path) -> None:
    with pytest.raises(ValueError, match="x"), claimed(folder):
        raise ValueError("x")
    assert state(folder) == "interrupted"


def test_looking_at_a_run_does_not_keep_a_worker_from_it(folder: Path) -> None:
    (folder / LOCK).touch()
    lock = FileLock(folder / LOCK, timeout=0, thread_local=False)
    lock.acquire()
    threading.Thread(target=lambda: (time.sleep(0.1), lock.release())).start()
    with claimed(folder) as mine:
        assert mine


def test_results_are_whole_or_not_there(folder: Path) -> None:
    assert read_result(folder) is None
    assert read_result(folder / "nowhere") is None
    write_atomically(folder / RESULT, json.dumps({"layout": LAYOUT, "x": 1}))
    assert read_result(folder) == {"layout": LAYOUT, "x": 1}
    assert [path.name for path in folder.iterdir()] == [RESULT], "no temporary file stays"


@pytest.mark.parametrize("text", ["", '{"layout": 1, "metr', "[1]", "null", "\0\0\0\0"])
def test_a_half_written_result_is_named_with_its_remedy(folder: Path, text: str) -> None:
    (folder / RESULT).write_text(text)
    with pytest.raises(RunFolderError, match=r"result\.json is not a whole JSON object: delete this file to have the"):
        read_result(folder)


@pytest.mark.parametrize("layout", [LAYOUT - 1, LAYOUT + 1, None])
def test_a_result_of_another_layout_is_not_guessed_at(folder: Path, layout: int | None) -> None:
    (folder / RESULT).write_text(json.dumps({"metrics": {}} | ({"layout": layout} if layout is not None else {})))
    said = rf"has layout {'unknown' if layout is None else layout}, this version reads {LAYOUT}: move the folder away"
    with pytest.raises(RunFolderError, match=said):
        read_result(folder)


def test_finished_runs_are_those_with_a_result(tmp_path: Path) -> None:
    assert finished_ids(tmp_path / "nowhere") == set()
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        (tmp_path / name / CONFIG).touch()
    (tmp_path / "b" / RESULT).touch()
    (tmp_path / "notes.txt").touch()
    assert finished_ids(tmp_path) == {"b"}


# A path below a regular file cannot be written to, whoever asks (tests may run as root).


def test_folders_that_cannot_be_made_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    below = tmp_path / "file" / "run"
    for call in (make_folder, lambda path: write_atomically(path / RESULT, "{}")):
        with pytest.raises(RunFolderError, match=rf"cannot write {below}.*: Not a directory; free some space or name"):
            call(below)
    with pytest.raises(RunFolderError, match="cannot write"), claimed(below):
        pass
    assert state(below) == "waiting"
    assert read_result(below) is None


def test_a_full_disk_leaves_the_old_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_atomically(folder / RESULT, "old")

    def full(file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(RunFolderError, match=r"cannot write .*result\.json: No space left on device; free some space"):
        write_atomically(folder / RESULT, "new")
    assert (folder / RESULT).read_text() == "old"
    assert [path.name for path in folder.iterdir()] == [RESULT], "nothing is left behind to fill the disk further"
