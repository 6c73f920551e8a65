"""Stores of several machines become one: nothing is lost, nothing is overwritten, conflicts are named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from normbench.errors import RunFolderError
from normbench.store import RunFolder, Store
from normbench.store.merge import Merged, merged, no_store

from ..launch.works import RESULT

A, B, C = (f"{digit:016x}" for digit in (1, 2, 3))


def finished(root: Path, run_id: str, accuracy: float = 0.5, seconds: float = 1.0) -> RunFolder:
    folder = RunFolder(root / run_id)
    folder.write_config({"seed": 0})
    folder.metrics_path.write_text("step\n")
    result: dict[str, Any] = RESULT | {"metrics": {"test_accuracy": accuracy}, "seconds": seconds}
    folder.write_result(result)
    return folder


def begun(root: Path, run_id: str, checkpoint: str | None = None) -> RunFolder:
    folder = RunFolder(root / run_id)
    folder.write_config({"seed": 0})
    if checkpoint:
        folder.checkpoint_path.write_text(checkpoint)
    return folder


def files(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file() and p.name != ".lock"}


def merge(tmp_path: Path) -> list[Merged]:
    """Joins `theirs` to `mine`, and sees that theirs stays as it was."""
    before = files(tmp_path / "theirs")
    found = list(merged(Store(tmp_path / "mine"), Store(tmp_path / "theirs")))
    assert files(tmp_path / "theirs") == before
    assert not list((tmp_path / "mine").rglob("*.tmp"))
    return found


def test_what_is_missing_is_copied_and_what_is_there_stays(tmp_path: Path) -> None:
    mine, theirs = tmp_path / "mine", tmp_path / "theirs"
    finished(mine, A)
    before = files(mine)
    (finished(theirs, B).path / "arrays").mkdir()
    np.savez(theirs / B / "arrays" / "x.npz", x=np.zeros(3))
    begun(theirs, C, "half")
    assert [one.outcome for one in merge(tmp_path)] == ["copied", "copied"]
    assert files(mine) == before | files(theirs)
    assert RunFolder(mine / C).state() == "interrupted"


def test_the_same_numbers_are_one_run_whatever_the_clock_said(tmp_path: Path) -> None:
    finished(tmp_path / "mine", A, seconds=1.0)
    finished(tmp_path / "theirs", A, seconds=9.0)
    assert [one.outcome for one in merge(tmp_path)] == ["same"]
    assert json.loads((tmp_path / "mine" / A / "result.json").read_text())["seconds"] == 1.0


def test_other_numbers_are_a_conflict_that_is_named_and_both_stay(tmp_path: Path) -> None:
    finished(tmp_path / "mine", A, 0.5)
    finished(tmp_path / "theirs", A, 0.75)
    before = files(tmp_path / "mine")
    (one,) = merge(tmp_path)
    assert one.outcome == "conflict"
    assert str(one).endswith(f"{tmp_path / 'mine' / A} has test_accuracy 0.5, not 0.75: both stay")
    assert files(tmp_path / "mine") == before


@pytest.mark.parametrize("checkpoint", [None, "half"])
def test_a_result_takes_the_place_of_what_was_begun(checkpoint: str | None, tmp_path: Path) -> None:
    begun(tmp_path / "mine", A, checkpoint)
    finished(tmp_path / "theirs", A)
    assert [one.outcome for one in merge(tmp_path)] == ["replaced"]
    assert RunFolder(tmp_path / "mine" / A).state() == "done"
    assert not RunFolder(tmp_path / "mine" / A).checkpoint_path.exists()


def test_a_broken_result_is_kept_aside_for_a_whole_one_and_never_taken(tmp_path: Path) -> None:
    finished(tmp_path / "mine", A).result_path.write_text("")
    finished(tmp_path / "theirs", A)
    finished(tmp_path / "theirs", B).result_path.write_text("{")
    assert [one.outcome for one in merge(tmp_path)] == ["replaced", "broken"]
    assert (tmp_path / "mine" / A / "result.json.broken-1").read_text() == ""
    assert RunFolder(tmp_path / "mine" / A).state() == "done"
    assert not (tmp_path / "mine" / B).exists()


@pytest.mark.parametrize(("there", "outcome"), [("half", "behind"), (None, "replaced")])
def test_a_checkpoint_is_taken_where_there_is_none(there: str | None, outcome: str, tmp_path: Path) -> None:
    begun(tmp_path / "mine", A, there)
    begun(tmp_path / "theirs", A, "theirs")
    assert [one.outcome for one in merge(tmp_path)] == [outcome]
    assert RunFolder(tmp_path / "mine" / A).checkpoint_path.read_text() == (there or "theirs")


def test_a_finished_run_is_not_replaced_by_a_begun_one(tmp_path: Path) -> None:
    finished(tmp_path / "mine", A)
    begun(tmp_path / "theirs", A, "half")
    assert [one.outcome for one in merge(tmp_path)] == ["behind"]


@pytest.mark.parametrize("where", ["mine", "theirs"])
def test_a_run_that_is_being_trained_is_left_alone(where: str, tmp_path: Path) -> None:
    begun(tmp_path / "mine", A, "half")
    finished(tmp_path / "theirs", A)
    if where == "theirs":
        RunFolder(tmp_path / "theirs" / A).result_path.unlink()
    with RunFolder(tmp_path / where / A).claim():
        assert [one.outcome for one in merge(tmp_path)] == ["busy"]
    assert RunFolder(tmp_path / "mine" / A).state() == "interrupted"


def test_studies_are_those_of_both(tmp_path: Path) -> None:
    mine, theirs = Store(tmp_path / "mine"), Store(tmp_path / "theirs")
    finished(mine.root, A)
    finished(theirs.root, B)
    mine.record("rates", [A], {A: {"lr": 1}})
    theirs.record("rates", [B], {B: {"lr": 2}})
    theirs.record("norms", [B], {B: {"norm": "batch"}})
    merge(tmp_path)
    assert mine.ids_of("rates") == {A, B}
    assert (mine.labels_of("rates", A), mine.labels_of("rates", B)) == ({"lr": 1}, {"lr": 2})
    assert mine.studies() == ["norms", "rates"]


def test_merging_again_changes_nothing(tmp_path: Path) -> None:
    finished(tmp_path / "theirs", A)
    merge(tmp_path)
    before = files(tmp_path / "mine")
    assert [one.outcome for one in merge(tmp_path)] == ["same"]
    assert files(tmp_path / "mine") == before


def test_a_folder_without_runs_is_named(tmp_path: Path) -> None:
    (tmp_path / "machine" / "runs").mkdir(parents=True)
    assert str(no_store(tmp_path / "machine")).endswith(f"did you mean {tmp_path / 'machine' / 'runs'}?")
    finished(tmp_path / "machine" / "runs", A)
    assert no_store(tmp_path / "machine" / "runs") is None


FULL = (28, "No space left on device")
FULL_TREE = shutil.Error([("a", "b", str(OSError(*FULL, "b")))])


@pytest.mark.parametrize("error", [OSError(*FULL), FULL_TREE], ids=["a file", "a folder"])
def test_a_full_disk_leaves_no_half_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError) -> None:
    finished(tmp_path / "theirs", A)

    def full(*words: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr("shutil.copy2", full)
    monkeypatch.setattr("shutil.copytree", full)
    with pytest.raises(RunFolderError, match="No space left on device; free some space or name another"):
        list(merged(Store(tmp_path / "mine"), Store(tmp_path / "theirs")))
    assert not (tmp_path / "mine" / A).exists()
