"""Curves of many runs: the same numbers as in their files, and only new files opened a second time."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pandas as pd
import pytest

from normbench.store import Store, curves, points
from normbench.store.columns import CURVE_COLUMNS
from normbench.store.curves import CurveIndex, Part

from .conftest import Lab, run_name, write_curve


def read(lab: Lab, ids: list[str] | None = None) -> pd.DataFrame:
    return Store(lab.store.root).curves(lab.ids if ids is None else ids)


def parts(lab: Lab) -> list[Path]:
    return sorted((lab.store.root / curves.CURVES).glob("*"))


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids of the runs whose metrics.csv was opened."""
    names: list[str] = []
    original = points._body

    def body(path: Path) -> bytes:
        names.append(path.parent.name)
        return original(path)

    monkeypatch.setattr(points, "_body", body)
    return names


def test_points_are_those_of_the_files(lab: Lab) -> None:
    frame = read(lab)
    assert list(frame.columns) == ["run_id", *CURVE_COLUMNS]
    expected = [
        pd.read_csv(lab.store.folder(run_id).metrics_path).assign(run_id=run_id)[["run_id", *CURVE_COLUMNS]]
        for run_id in lab.ids
    ]
    for found in (frame, read(lab)):
        plain = found.astype(dict.fromkeys(("run_id", "split", "metric"), "str"))
        pd.testing.assert_frame_equal(plain, pd.concat(expected, ignore_index=True))


def test_the_order_is_that_asked_for_and_the_unknown_have_none(lab: Lab) -> None:
    read(lab, lab.ids[:9])
    asked = [run_name(77), *lab.ids[::-1], lab.ids[0]]
    for _ in range(2):
        with pytest.warns(UserWarning, match=rf"{run_name(77)}/metrics.csv is not there: its run has no curve$"):
            frame = read(lab, asked)
        assert list(dict.fromkeys(frame["run_id"])) == lab.ids[::-1]
        assert len(frame) == 180


def test_a_second_reading_opens_only_what_is_new(lab: Lab, parsed: list[str]) -> None:
    first = read(lab)
    assert sorted(parsed) == lab.ids
    parsed.clear()
    pd.testing.assert_frame_equal(first, read(lab))
    assert parsed == []
    new = lab.store.folder(run_name(80))
    write_curve(new)
    changed = lab.store.folder(lab.ids[2])
    write_curve(changed, points=4)
    frame = read(lab, [*lab.ids, new.id])
    assert sorted(parsed) == [changed.id, new.id]
    assert (frame["run_id"] == changed.id).sum() == 5
    assert len(frame) == 180 + 10 - 5


def test_what_is_wanted_alone(lab: Lab) -> None:
    whole = read(lab)
    for _ in range(2):
        frame = Store(lab.store.root).curves(lab.ids, wanted=[("validation", "accuracy"), ("x", "y")])
        expected = whole[whole["split"] == "validation"]
        assert frame["value"].tolist() == expected["value"].tolist()
        assert frame["run_id"].astype(str).tolist() == expected["run_id"].astype(str).tolist()


@pytest.mark.parametrize("content", [b"", b"not parquet", b"PAR1" * 50, None])
def test_an_unusable_index_is_made_anew(lab: Lab, content: bytes | None, parsed: list[str]) -> None:
    first = read(lab)
    (part,) = parts(lab)
    whole = part.read_bytes()
    part.write_bytes(whole[: len(whole) // 2] if content is None else content)
    parsed.clear()
    pd.testing.assert_frame_equal(first, read(lab))
    assert sorted(parsed) == lab.ids
    parsed.clear()
    pd.testing.assert_frame_equal(first, read(lab))
    assert parsed == []
    assert len(parts(lab)) == 1


def test_a_part_with_damaged_points_is_made_anew(lab: Lab) -> None:
    first = read(lab)
    (part,) = parts(lab)
    content = bytearray(part.read_bytes())
    content[4:60] = bytes(56)
    part.write_bytes(content)
    pd.testing.assert_frame_equal(first, read(lab))


def test_a_store_that_can_only_be_read_is_read(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    first = read(lab)
    (part,) = parts(lab)
    part.unlink()

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(curves, "replace_file", refuse)
    pd.testing.assert_frame_equal(first, read(lab))
    assert parts(lab) == []


def test_many_small_parts_are_joined(lab: Lab, parsed: list[str]) -> None:
    for end in range(1, 19):
        read(lab, lab.ids[:end])
    assert len(parts(lab)) <= curves.PARTS + 1
    parsed.clear()
    assert len(read(lab)) == 180
    assert parsed == []


def test_a_part_that_another_process_removed_is_read_from_the_files(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    first = read(lab)
    original = CurveIndex._parts

    def vanishing(index: CurveIndex) -> list[Part]:
        found = original(index)
        for part in found:
            part.path.unlink()
        return found

    monkeypatch.setattr(CurveIndex, "_parts", vanishing)
    pd.testing.assert_frame_equal(first, read(lab))


READER = """
import sys
from normbench.store import Store
first, last = map(int, sys.argv[2:])
for end in range(first, last):
    frame = Store(sys.argv[1]).curves([f"{i:016x}" for i in range(first, end + 1)])
    assert len(frame) == 10 * (end + 1 - first), frame
"""


def test_several_processes_may_write_the_index(lab: Lab) -> None:
    command = [sys.executable, "-c", READER, str(lab.store.root)]
    processes = [subprocess.Popen([*command, *each]) for each in (("0", "18"), ("3", "18"), ("0", "15"))]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert len(read(lab)) == 180


BROKEN = {
    "a broken line": ("1,2,3\n", "has a broken line"),
    "a line with a word": ("one,32,0.1,1.0,train,loss,0.5\n", "has a broken line"),
    "an empty line": ("\n1,32,0.1,1.0,train,loss,0.5\n", "has a broken line"),
    "zeros": ("\0\0\0\0\n", "has a broken line"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_is_named_and_the_others_are_read(lab: Lab, kind: str) -> None:
    text, why = BROKEN[kind]
    path = lab.store.folder(lab.ids[1]).metrics_path
    path.write_text(",".join(CURVE_COLUMNS) + "\n" + text)
    for _ in range(2):
        with pytest.warns(UserWarning, match=f"^{path} {why}: its run has no curve$"):
            frame = Store(lab.store.root).curves(lab.ids)
        assert len(frame) == 170
        assert lab.ids[1] not in set(frame["run_id"])


def test_a_file_of_another_kind_is_named(lab: Lab) -> None:
    path = lab.store.folder(lab.ids[1]).metrics_path
    path.write_text("a,b\n1,2\n")
    with pytest.warns(UserWarning, match=f"^{path} has another heading than metrics.csv: its run has no curve$"):
        lab.store.curves(lab.ids)


def test_files_that_are_gone_are_told_together(lab: Lab) -> None:
    for run_id in lab.ids[1:3]:
        lab.store.folder(run_id).metrics_path.unlink()
    first = lab.store.folder(lab.ids[1]).metrics_path
    with pytest.warns(UserWarning, match=rf"^{first} is not there \(and 1 more\): its run has no curve$"):
        assert len(lab.store.curves(lab.ids)) == 160


@pytest.mark.parametrize("kept", [0, 3, 44, 45, 60])
def test_a_file_that_is_being_written_has_its_whole_lines(lab: Lab, kept: int) -> None:
    path = lab.store.folder(lab.ids[1]).metrics_path
    path.write_text(path.read_text()[:kept])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert lab.store.curves([lab.ids[1]]).empty


def test_values_that_are_no_numbers_and_metrics_of_probes_come_back(lab: Lab) -> None:
    folder = lab.store.folder(lab.ids[1])
    write_curve(folder)
    with folder.metrics_path.open("a") as file:
        file.write("9,288,1.1,9.0,train,loss,nan\n9,288,1.1,9.0,rank/after conv1,effective,inf\n")
    os.utime(folder.metrics_path)
    for _ in range(2):
        frame = lab.store.curves([folder.id]).tail(2)
        assert frame["split"].tolist() == ["train", "rank/after conv1"]
        assert frame["value"].isna().tolist() == [True, False]
        assert frame["value"].iloc[1] == float("inf")
        assert frame["step"].dtype == "int64"


@pytest.mark.parametrize("ids", [slice(None), slice(4, 9), slice(None, None, -3)])
def test_parts_and_their_row_groups_may_be_small(lab: Lab, monkeypatch: pytest.MonkeyPatch, ids: slice) -> None:
    expected = read(lab, lab.ids[ids])
    for part in parts(lab):
        part.unlink()
    for name, value in (("CHUNK", 4), ("GROUP", 25), ("FLUSH", 70)):
        monkeypatch.setattr(curves, name, value)
    read(lab)
    assert len(parts(lab)) == 3
    pd.testing.assert_frame_equal(expected, read(lab, lab.ids[ids]))


def test_nothing_heavy_is_imported_before_something_is_read() -> None:
    code = (
        "import sys, normbench.store; print([m for m in ('pandas', 'pyarrow', 'torch', 'numpy') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
