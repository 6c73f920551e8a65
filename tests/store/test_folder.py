"""Run folders: what state a run is in, who works on it, and what happens where nothing can be written."""

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from filelock import FileLock

from normbench.errors import DataError, RunFolderError, UsageError
from normbench.store import LAYOUT, RunFolder, make_folder, write_atomically
from normbench.store.columns import CURVE_COLUMNS
from normbench.store.folder import ARRAYS, CONFIG, ERROR, LOCK, METRICS, RESULT, WRITTEN
from normbench.store.result import REQUIRED, json_text, plain

from .conftest import run_name, run_result, write_curve

ID = run_name(7)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    path = tmp_path / ID
    path.mkdir()
    return RunFolder(path)


def test_states(folder: RunFolder) -> None:
    assert RunFolder(folder.path.parent / "nowhere").state() == "waiting"
    assert folder.state() == "waiting"
    with folder.claim() as mine:
        assert mine
        assert folder.state() == "running"
        folder.write_error("an older error")
        assert folder.state() == "running", "a failed run that is tried again is running"
    assert folder.state() == "failed"
    folder.write_error("")
    assert folder.state() == "interrupted"
    folder.write_result(run_result(ID))
    assert folder.state() == "done"
    with folder.claim():
        assert folder.state() == "done", "a worker that finds a finished run does not make it running"


def test_a_begun_run_without_its_lock_file_is_interrupted(folder: RunFolder) -> None:
    folder.write_config({"seed": 1})
    assert folder.state() == "interrupted"


def test_asking_for_the_state_leaves_no_trace(folder: RunFolder) -> None:
    folder.state()
    assert list(folder.path.iterdir()) == []


def test_a_run_has_one_owner(folder: RunFolder) -> None:
    with folder.claim() as mine:
        with folder.claim() as theirs:
            assert mine
            assert not theirs
        assert folder.state() == "running", "the one who came too late does not open the lock"
    with folder.claim() as mine:
        assert mine


def test_a_lock_is_let_go_of_after_an_error(folder: RunFolder) -> None:
    with pytest.raises(ValueError, match="x"), folder.claim():
        raise ValueError("x")
    assert folder.state() == "interrupted"


def test_looking_at_a_run_does_not_keep_a_worker_from_it(folder: RunFolder) -> None:
    (folder.path / LOCK).touch()
    lock = FileLock(folder.path / LOCK, timeout=0, thread_local=False)
    lock.acquire()
    threading.Thread(target=lambda: (time.sleep(0.1), lock.release())).start()
    with folder.claim() as mine:
        assert mine


HOLDER = """
import sys, time
from normbench.store import RunFolder
with RunFolder(sys.argv[1]).claim() as mine:
    print(mine, flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(os.name != "posix", reason="kills a process as POSIX does")
def test_the_lock_of_a_killed_process_blocks_nobody(folder: RunFolder) -> None:
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(folder.path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "True\n"
    assert folder.state() == "running", "another process holds it"
    left = folder.path / f".{RESULT}.{process.pid}-0.tmp"
    left.touch()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert folder.state() == "interrupted"
    with folder.claim() as mine:
        assert mine
        assert not left.exists(), "what the killed process was writing is removed"


def test_leftovers_of_living_processes_and_files_of_others_stay(folder: RunFolder) -> None:
    kept = [folder.path / f".{RESULT}.{os.getpid()}-0.tmp", folder.path / "notes.tmp", folder.path / "plan.new"]
    for path in kept:
        path.touch()
    (folder.path / "checkpoint.ckpt.new").touch()
    with folder.claim():
        assert {path for path in folder.path.iterdir() if path.name != LOCK} == set(kept)


@pytest.mark.parametrize("kind", ["folder", "link"])
@pytest.mark.parametrize("name", [*(name for name in WRITTEN if not name.endswith(".new")), LOCK])
def test_what_cannot_be_where_it_lies_is_kept_aside_and_named(folder: RunFolder, name: str, kind: str) -> None:
    path = folder.path / name
    if kind == "folder":
        path.mkdir()
        (path / "inside").touch()
    else:
        path.symlink_to(folder.path / "nowhere")
    assert folder.state() in {"waiting", "interrupted", "failed"}, "asking does not fail"
    assert kind == "folder" or folder.error() is None
    said: list[str] = []
    with folder.claim(said.append) as mine:
        assert mine
    (line,) = said
    assert line.startswith(f"{path} is ")
    assert line.endswith(f": kept as {name}.broken-1")
    assert not path.is_dir()
    assert path.with_name(f"{name}.broken-1").is_symlink() == (kind == "link")
    with folder.claim(said.append):
        assert len(said) == 1, "said once"


def test_a_file_in_the_place_of_a_folder_is_kept_aside_and_named(
    folder: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder.path / ARRAYS).touch()
    with folder.claim():
        assert not (folder.path / ARRAYS).exists(), "a probe can make it"
    assert capsys.readouterr().err == f"{folder.path / ARRAYS} is a file, not a folder: kept as arrays.broken-1\n"
    other = RunFolder(folder.path.parent / run_name(8))
    other.path.write_text("x")
    assert other.state() == "waiting"
    with other.claim():
        assert other.path.is_dir()
    assert f"kept as {run_name(8)}.broken-1" in capsys.readouterr().err
    named = RunFolder(folder.path.parent / "mine", run_id=ID)
    named.path.write_text("a user's own")
    with pytest.raises(RunFolderError, match="cannot write"), named.claim():
        pass
    assert named.path.read_text() == "a user's own"


# Results.


def test_results_are_whole_or_not_there(folder: RunFolder) -> None:
    assert folder.result() is None
    assert RunFolder(folder.path / "nowhere").result() is None
    written = folder.write_result(run_result(ID))
    assert written == {"layout": LAYOUT, **run_result(ID)}
    assert folder.result() == written
    assert [path.name for path in folder.path.iterdir()] == [RESULT], "no temporary file stays"


def test_numbers_of_numpy_and_pandas_survive_and_what_is_none_is_null(folder: RunFolder) -> None:
    metrics = {
        "test_accuracy": np.float64(0.5),
        "test_nll": np.float32(0.25),
        "val_nll": float("nan"),
        "val_accuracy": np.float64("inf"),
        "train_loss": pd.Series([0.125])[0],
    }
    more: dict[str, Any] = {
        "steps": np.int64(3),
        "seconds": np.float32(1.5),
        "diverged_at_step": None,
        "shape": (np.int32(2), 3),
        "confusion": np.arange(4).reshape(2, 2),
        "flag": np.bool_(True),
        "where": Path("a") / "b",
        "missing": pd.NaT,
    }
    found = folder.write_result(run_result(ID, metrics=metrics, **more))
    assert found == folder.result()
    assert found["metrics"] == {
        "test_accuracy": 0.5,
        "test_nll": 0.25,
        "val_nll": None,
        "val_accuracy": None,
        "train_loss": 0.125,
    }
    assert (found["steps"], found["seconds"], found["shape"]) == (3, 1.5, [2, 3])
    assert (found["confusion"], found["flag"], found["missing"]) == ([[0, 1], [2, 3]], True, None)
    assert found["where"] == str(Path("a") / "b")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, np.float32("nan"), {"a": [np.nan]}])
def test_json_text_is_json(value: Any) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(name)

    json.loads(json_text(value), parse_constant=refuse)


def test_numbers_keep_every_digit() -> None:
    for value in (0.1 + 0.2, 1e-320, 2**53 + 1, -0.0):
        assert repr(json.loads(json_text({"x": value}))["x"]) == repr(value)
    assert plain(np.float64(0.1)) == 0.1


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is not a whole JSON object"),
        ('{"layout": 2, "metr', "is not a whole JSON object"),
        ("[1]", "is not a whole JSON object"),
        ("null", "is not a whole JSON object"),
        ("\0\0\0\0", "is not a whole JSON object"),
        ("\ufffd", "is not a whole JSON object"),
        ("[" * 200_000, "is not a whole JSON object"),
        ("{}", "has layout unknown, this version reads 2"),
        ('{"layout": 1}', "has layout 1, this version reads 2"),
        ('{"layout": 3}', "has layout 3, this version reads 2"),
        ('{"layout": 2}', "lacks run_id"),
        (json.dumps({"layout": 2, "run_id": ID}), "lacks config"),
        (json.dumps(run_result(run_name(8)) | {"layout": 2}), f"is of run {run_name(8)}, not of {ID}"),
        (json.dumps(run_result(ID, metrics={"test_accuracy": "high"}) | {"layout": 2}), "has no usable metrics"),
        (json.dumps(run_result(ID, dataset={}) | {"layout": 2}), "lacks dataset.name"),
        (json.dumps(run_result(ID, config={"seed": 1, "model": 3}) | {"layout": 2}), "lacks config.model.name"),
    ],
)
def test_a_broken_result_is_broken_everywhere_and_set_aside(folder: RunFolder, text: str, why: str) -> None:
    (folder.path / RESULT).write_text(text)
    assert folder.state() == "broken"
    assert folder.problem() == why
    with pytest.raises(RunFolderError) as caught:
        folder.result()
    assert str(caught.value) == f"{folder.result_path} {why}: `normbench run` sets it aside and repeats the run"
    with folder.claim():
        assert folder.state() == "running", "it is being repeated"
        assert folder.set_aside() == f"{folder.result_path} {why}: kept as result.json.broken-1"
    assert folder.result() is None
    assert folder.state() == "interrupted"
    assert (folder.path / "result.json.broken-1").read_text() == text
    (folder.path / RESULT).touch()
    assert folder.set_aside().endswith("kept as result.json.broken-2")


@pytest.mark.parametrize("key", REQUIRED)
@pytest.mark.parametrize("value", ["absent", None, "text", True])
def test_each_key_that_others_read_is_needed(folder: RunFolder, key: str, value: Any) -> None:
    result = run_result(ID)
    if value == "absent":
        del result[key]
    else:
        result[key] = value
    (folder.path / RESULT).write_text(json.dumps(result | {"layout": LAYOUT}))
    assert folder.state() == "broken"
    assert key in str(folder.problem())
    with pytest.raises(RunFolderError, match=key):
        folder.write_result(result)


def test_a_result_that_is_a_folder_is_broken_and_not_an_error(folder: RunFolder) -> None:
    folder.result_path.mkdir()
    assert folder.state() == "broken"
    assert "kept as" in folder.set_aside()


def test_a_result_under_the_name_of_another_run_is_not_written(folder: RunFolder) -> None:
    with pytest.raises(RunFolderError, match=f"is of run {run_name(8)}, not of {ID}"):
        folder.write_result(run_result(run_name(8)))
    assert not folder.result_path.exists()


def test_a_folder_that_a_user_named_holds_the_run_that_it_is_given(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "my run", run_id=ID)
    folder.write_result(run_result(ID))
    assert folder.state() == "done"
    assert RunFolder(tmp_path / "my run", run_id=run_name(8)).problem() == f"is of run {ID}, not of {run_name(8)}"
    assert RunFolder(tmp_path / "my run").state() == "broken"


def test_a_configuration_of_another_run_is_broken(folder: RunFolder) -> None:
    folder.write_result(run_result(ID))

    def unknown(config: Any) -> str:
        raise UsageError("plugin x.py: No such file or directory")

    assert RunFolder(folder.path, lambda config: ID).state() == "done"
    assert RunFolder(folder.path, unknown).problem() == "has a configuration that cannot be read"
    config = run_result(ID)["config"] | {"plugins": ["x.py"]}
    folder.write_result(run_result(ID, config=config))
    assert RunFolder(folder.path, unknown).state() == "done", "a plug-in is not on every machine"

    def gone(config: Any) -> str:
        raise DataError("data.path=x.npz cannot be read")

    folder.write_result(run_result(ID))
    assert RunFolder(folder.path, gone).state() == "done", "nor are the images"
    other = RunFolder(folder.path, lambda config: run_name(9))
    assert other.state() == "broken"
    assert other.problem() == f"has a configuration of run {run_name(9)}"


def test_an_unusable_checkpoint_is_kept_aside_and_named(folder: RunFolder) -> None:
    folder.checkpoint_path.touch()
    said = folder.set_aside("checkpoint.ckpt", "cannot be loaded (EOFError)")
    assert said == f"{folder.checkpoint_path} cannot be loaded (EOFError): kept as checkpoint.ckpt.broken-1"


def test_the_error_is_its_last_line(folder: RunFolder) -> None:
    assert folder.error() is None
    folder.write_error("Traceback\n  more\n\nRunFolderError: no space left\n\n")
    assert folder.error() == "RunFolderError: no space left"
    (folder.path / ERROR).write_bytes(b"")
    assert folder.error() == "no reason was recorded"


def test_config_and_curves_come_back(folder: RunFolder) -> None:
    tree = {"data": {"name": "off", "batch_size": 32}, "lr": 1e-3, "seed": 1}
    folder.write_config(tree)
    assert folder.config() == tree
    assert folder.curves().columns.tolist() == list(CURVE_COLUMNS)
    write_curve(folder)
    with folder.metrics_path.open("a") as file:
        file.write("9,288,1.1,9.0,train,lo")  # being written
    assert len(folder.curves()) == 10


# A path below a regular file cannot be written to, whoever asks (tests may run as root).


def test_folders_that_cannot_be_made_are_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    below = file / ID
    for call in (make_folder, *(lambda path, end=end: write_atomically(path / end, "{}") for end in ("", RESULT))):
        with pytest.raises(RunFolderError, match=rf"cannot write {below}.*: {file} is a file; move it away or name"):
            call(below)
    with pytest.raises(RunFolderError, match="file: a file has that name; move it away or name another"):
        make_folder(file)
    (tmp_path / "folder" / "below").mkdir(parents=True)
    with pytest.raises(RunFolderError, match="folder: a folder has that name; move it away or name another"):
        write_atomically(tmp_path / "folder", "{}")
    with pytest.raises(RunFolderError, match="cannot write"), RunFolder(below).claim():
        pass
    assert RunFolder(below).state() == "waiting"
    assert RunFolder(below).result() is None


def test_only_a_full_disk_is_told_to_be_emptied(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(file: int) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.fsync", forbidden)
    with pytest.raises(RunFolderError, match=r"result\.json: Permission denied; name another folder"):
        write_atomically(folder.path / RESULT, "new")


def test_a_full_disk_leaves_the_old_file(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    write_atomically(folder.path / RESULT, "old")

    def full(file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(RunFolderError, match=r"cannot write .*result\.json: No space left on device; free some space"):
        write_atomically(folder.path / RESULT, "new")
    assert (folder.path / RESULT).read_text() == "old"
    files = [path.name for path in folder.path.rglob("*") if path.is_file()]
    assert files == [RESULT], "nothing is left behind to fill the disk further"


def test_names_of_the_files_hold(folder: RunFolder) -> None:
    assert (CONFIG, METRICS, RESULT, ERROR, LOCK) == (
        "config.yaml",
        "metrics.csv",
        "result.json",
        "error.txt",
        ".lock",
    )
    assert folder.id == ID
