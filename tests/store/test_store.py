"""The shared store: what is done, running or broken among many runs, and which study uses which run."""

import os
import time
from pathlib import Path

import pytest

from normbench.errors import RunFolderError
from normbench.store import RunFolder, Store
from normbench.store.folder import LOCK
from normbench.store.usable import USABLE

from .conftest import Lab, run_name, run_result, write_curve


def test_finished_runs_are_those_with_a_result_that_counts(tmp_path: Path) -> None:
    runs = Store(tmp_path)
    assert Store(tmp_path / "nowhere").finished(["a"]) == set()
    for number in range(4):
        runs.folder(run_name(number)).write_config({"seed": number})
    runs.folder(run_name(1)).write_result(run_result(run_name(1)))
    runs.folder(run_name(2)).result_path.touch()
    runs.folder(run_name(3)).result_path.write_text('{"layout": 2}')
    (tmp_path / "notes.txt").touch()
    for ids in (None, [run_name(number) for number in range(9)]):
        assert runs.finished(ids) == {run_name(1)}
        assert runs.broken(ids) == {run_name(2): "is not a whole JSON object", run_name(3): "lacks run_id"}
    assert runs.finished([run_name(0), run_name(2)]) == set()


def test_a_store_knows_runs_by_their_folders_and_by_a_record(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.known("a") == set()
    (tmp_path / "0123456789abcdef").mkdir()
    (tmp_path / "notes").mkdir()
    store.record("a", ["fedcba9876543210"])
    assert store.known("a") == {"0123456789abcdef", "fedcba9876543210"}
    assert store.known("b") == {"0123456789abcdef"}


def test_states_of_many_runs(lab: Lab) -> None:
    runs = Store(lab.store.root)
    waiting, failed, interrupted, broken = (run_name(number) for number in range(50, 54))
    runs.folder(failed).write_error("x\nno space left\n")
    runs.folder(interrupted).write_config({})
    runs.folder(broken).path.mkdir()
    runs.folder(broken).result_path.touch()
    with runs.folder(run_name(60)).claim(), runs.folder(lab.ids[0]).claim():
        found = runs.states([waiting, *lab.ids, failed, interrupted, broken, run_name(60), waiting])
    assert list(found) == [waiting, *lab.ids, failed, interrupted, broken, run_name(60)]
    assert {run_id: state for run_id, state in found.items() if state != "done"} == {
        waiting: "waiting",
        failed: "failed",
        interrupted: "interrupted",
        broken: "broken",
        run_name(60): "running",
    }
    assert all(runs.folder(run_id).state() == state for run_id, state in found.items() if state != "running")


def test_states_and_finished_leave_no_trace_but_a_cache(lab: Lab) -> None:
    before = sorted(lab.store.root.rglob("*"))
    lab.store.states([*lab.ids, run_name(70)])
    lab.store.finished()
    assert sorted(lab.store.root.rglob("*")) == sorted([*before, lab.store.root / USABLE])


def test_only_the_lock_tells_running_from_interrupted(tmp_path: Path) -> None:
    folder = Store(tmp_path).folder(run_name(1))
    folder.write_config({})
    write_curve(folder)
    folder.checkpoint_path.touch()
    (folder.path / LOCK).touch()
    for path in folder.path.iterdir():
        os.utime(path)  # written just now, and by nobody who is alive
    assert Store(tmp_path).states([folder.id]) == {folder.id: "interrupted"}


def test_a_store_that_asks_twice_opens_results_once(lab: Lab, opened: list[str]) -> None:
    assert lab.store.finished() == set(lab.ids)
    opened.clear()
    assert lab.store.finished() == set(lab.ids)
    assert opened == []
    lab.store.folder(lab.ids[0]).result_path.write_text("{")
    assert lab.store.finished() == set(lab.ids[1:])
    assert opened == [lab.ids[0]]


def test_a_second_process_opens_only_new_results(lab: Lab, opened: list[str]) -> None:
    assert Store(lab.store.root).finished() == set(lab.ids)
    opened.clear()
    os.utime(lab.store.folder(lab.ids[0]).result_path)
    lab.store.folder(lab.ids[1]).result_path.write_text("{")
    assert Store(lab.store.root).finished() == {*lab.ids} - {lab.ids[1]}
    assert sorted(opened) == lab.ids[:2]
    opened.clear()
    assert Store(lab.store.root).finished() == {*lab.ids} - {lab.ids[1]}
    assert opened == [lab.ids[1]]


@pytest.mark.parametrize("content", ["", "x", "a b c d\n", "\0" * 99, f"{run_name(0)} 1 1 2opened\n{run_name(0)} 9"])
def test_an_unusable_cache_is_ignored(lab: Lab, content: str, opened: list[str]) -> None:
    (lab.store.root / USABLE).write_text(content)
    assert Store(lab.store.root).finished() == set(lab.ids)
    assert sorted(opened) == lab.ids
    opened.clear()
    assert Store(lab.store.root).finished() == set(lab.ids)
    assert len(opened) <= 1, "a torn line spoils the next one at most"


def test_a_cache_that_cannot_be_written_is_none(lab: Lab) -> None:
    (lab.store.root / USABLE).mkdir()
    assert Store(lab.store.root).finished() == Store(lab.store.root).finished() == set(lab.ids)


def test_a_run_is_found_under_each_study_that_uses_it(tmp_path: Path) -> None:
    runs = Store(tmp_path / "runs")
    assert runs.studies_of("a") == ()
    runs.record("width", ["b", "a", "a"])
    runs.record("depth", ["b", "c"])
    assert runs.studies_of("a") == ("width",)
    assert runs.studies_of("b") == ("depth", "width")
    assert runs.studies_of("z") == ()
    assert runs.ids_of("width") == {"a", "b"}
    assert runs.studies() == ["depth", "width"]
    Store(runs.root).record("depth", ["c"])  # by another process; the plan is what counts now
    assert runs.studies_of("b") == ("width",)
    (runs.root / "studies" / "depth.json").write_text("{")
    assert runs.studies_of("c") == ()
    runs.record("depth", ["c"])
    assert runs.studies_of("c") == ("depth",)


def test_an_unchanged_record_is_not_written_again(tmp_path: Path) -> None:
    runs = Store(tmp_path)
    runs.record("width", ["a"])
    path = tmp_path / "studies" / "width.json"
    os.utime(path, ns=(1, 1))
    runs.record("width", ["a"])
    assert path.stat().st_mtime_ns == 1


def test_a_record_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "runs").touch()
    with pytest.raises(RunFolderError, match=r"cannot write .*width\.json"):
        Store(tmp_path / "runs").record("width", ["a"])


@pytest.mark.parametrize("place", [".", ".curves"])
def test_temporary_files_of_dead_processes_leave_the_store(lab: Lab, place: str) -> None:
    dead = 2**22 + 1  # above what Linux gives
    folder = lab.store.root / place
    folder.mkdir(exist_ok=True)
    old, young = (folder / f".index.parquet.{dead}-{number}.tmp" for number in range(2))
    for path in (old, young):
        path.touch()
    os.utime(old, (time.time() - 3600,) * 2)
    lab.store.table(lab.cells)
    lab.store.curves(lab.ids)
    assert not old.exists()
    assert young.exists(), "it may be another machine's, which looks dead from here"


def test_folders_are_equal_where_their_paths_are(tmp_path: Path) -> None:
    runs = Store(str(tmp_path))
    assert runs.folder("a") == RunFolder(tmp_path / "a")
    assert len({runs.folder("a"), runs.folder("a"), runs.folder("b")}) == 2


def test_a_record_that_cannot_be_where_it_lies_is_kept_aside(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = Store(tmp_path)
    (tmp_path / "studies").touch()
    runs.record("one", ["a"])
    assert capsys.readouterr().err.endswith("studies is a file, not a folder: kept as studies.broken-1\n")
    (tmp_path / "studies" / "two.json").mkdir()
    runs.record("two", ["b"])
    assert capsys.readouterr().err.endswith("two.json is a folder, not a file: kept as two.json.broken-1\n")
    assert (runs.studies(), runs.ids_of("one"), runs.ids_of("two")) == (["one", "two"], {"a"}, {"b"})
