"""The results table and its index: what a row says, and that a second reading opens only what is new."""

import json
import os
import subprocess
import sys
from typing import Any

import pandas as pd
import pytest

from normbench.store import Store
from normbench.store.columns import RESULT_COLUMNS
from normbench.store.folder import RESULT
from normbench.store.table import INDEX

from .conftest import Lab, run_name, run_result

ASKED = [
    "study",
    "run_id",
    "dataset",
    "model",
    "norm",
    "parameters",
    "batch_size",
    "devices",
    "images_per_statistic",
    "values_per_statistic",
    "lr",
    "seed",
    "steps",
    "samples",
    "test_accuracy",
    "test_nll",
    "train_loss",
    "seconds",
    "samples_per_second",
    "diverged_at_step",
    "code_digest",
    "commit",
]


def table(lab: Lab, some: int | None = None) -> pd.DataFrame:
    """As a process that knows nothing yet reads it."""
    return Store(lab.store.root).table(dict(list(lab.cells.items())[:some]), "synthetic")


def test_has_the_columns_asked_for_and_one_row_a_run(lab: Lab) -> None:
    frame = table(lab)
    assert list(frame.columns) == list(RESULT_COLUMNS)
    assert [name for name in frame.columns if name in ASKED] == ASKED
    assert len(frame) == len(lab.cells) == 18
    assert not frame.duplicated(["norm", "batch_size", "seed"]).any()


def test_a_row_says_what_the_run_folder_says(lab: Lab) -> None:
    row = table(lab).set_index("run_id").loc[lab.find("group", 32, 1)]
    assert row["study"] == "synthetic"
    assert (row["dataset"], row["model"], row["norm"], row["seed"]) == ("mnist", "digit_cnn", "group", 1)
    assert row["test_accuracy"] == pytest.approx(0.968 + 0.002)
    assert row["test_nll"] == pytest.approx(2 * (1 - 0.970))
    assert (row["steps"], row["samples"], row["images_per_statistic"], row["devices"]) == (20, 640, 1, 1)
    assert (row["values_per_statistic"], row["code_digest"], row["commit"]) == (32, "d1gest", "c0ffee")
    assert row["seconds"] == 11.0
    assert pd.isna(row["diverged_at_step"])


def test_a_diverged_run_has_its_step_and_no_metric(lab: Lab) -> None:
    frame = table(lab)
    row = frame[frame["diverged_at_step"].notna()]
    assert row[["norm", "batch_size", "seed", "diverged_at_step"]].to_numpy().tolist() == [["none", 32, 2, 7]]
    assert row[["test_accuracy", "train_loss"]].isna().all(axis=None)


def test_a_second_reading_opens_only_what_is_new(lab: Lab, opened: list[str]) -> None:
    late = lab.ids[3]
    path = lab.store.folder(late).result_path
    path.rename(lab.store.root / "kept.json")
    assert len(table(lab)) == 17
    assert len(opened) == 17
    opened.clear()
    (lab.store.root / "kept.json").rename(path)
    first = table(lab)
    assert opened == [late]
    assert len(first) == 18
    opened.clear()
    pd.testing.assert_frame_equal(first, table(lab))
    assert opened == []


def test_a_changed_and_a_removed_result_are_noticed(lab: Lab) -> None:
    before = table(lab)
    first, second = (lab.store.folder(run_id).result_path for run_id in lab.ids[:2])
    text = json.loads(first.read_text())
    text["metrics"]["test_accuracy"] = 0.5
    first.write_text(json.dumps(text))
    os.utime(first, ns=(1, 1))  # a clock that was set back changes the file as well
    second.unlink()
    after = table(lab).set_index("run_id")
    assert after.loc[lab.ids[0], "test_accuracy"] == 0.5
    assert lab.ids[1] not in after.index
    assert len(after) == len(before) - 1


def test_what_runs_were_made_with_is_in_the_index(lab: Lab, opened: list[str]) -> None:
    table(lab)
    opened.clear()
    origins = Store(lab.store.root).origins(lab.ids)
    assert opened == []
    (lab.store.root / INDEX).unlink()
    assert Store(lab.store.root).origins(lab.ids) == origins, "from the results where there is none"
    result = lab.store.folder(lab.ids[0]).result()
    assert result is not None
    assert json.loads(origins[lab.ids[0]]) == {"environment": result["environment"], "md5": result["dataset"]["md5"]}


@pytest.mark.parametrize("content", [b"", b"not parquet", b"PAR1" * 50])
def test_a_corrupt_index_is_ignored_and_replaced(lab: Lab, content: bytes, opened: list[str]) -> None:
    before = table(lab)
    opened.clear()
    (lab.store.root / INDEX).write_bytes(content)
    pd.testing.assert_frame_equal(before, table(lab))
    assert len(opened) == 18
    assert len(pd.read_parquet(lab.store.root / INDEX)) == 18


def test_a_truncated_index_is_replaced(lab: Lab) -> None:
    before = table(lab)
    content = (lab.store.root / INDEX).read_bytes()
    for kept in (len(content) // 2, len(content) - 1):
        (lab.store.root / INDEX).write_bytes(content[:kept])
        pd.testing.assert_frame_equal(before, table(lab))


def test_an_index_of_another_version_is_ignored(lab: Lab) -> None:
    before = table(lab)
    path = lab.store.root / INDEX
    index = pd.read_parquet(path)
    index.assign(test_accuracy=0.0, layout=99).to_parquet(path)
    pd.testing.assert_frame_equal(before, table(lab))
    index.drop(columns="lr").to_parquet(path)
    pd.testing.assert_frame_equal(before, table(lab))
    pd.concat([index, index.assign(test_accuracy=0.0)]).to_parquet(path)
    pd.testing.assert_frame_equal(before, table(lab))


def test_an_index_that_is_a_folder_disturbs_nobody(lab: Lab) -> None:
    (lab.store.root / INDEX).mkdir()
    assert len(table(lab)) == len(table(lab)) == 18


def test_a_folder_that_can_only_be_read_is_read(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    before = table(lab)
    (lab.store.root / INDEX).unlink()

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", refuse)  # the tests' user may be root, whom no mode stops
    pd.testing.assert_frame_equal(before, table(lab))
    assert not (lab.store.root / INDEX).exists()


def test_runs_that_are_not_of_the_plan_are_not_read(lab: Lab, opened: list[str]) -> None:
    before = table(lab)
    stray = lab.store.folder("0123456789abcdef")
    stray.path.mkdir()
    (stray.path / RESULT).write_text("{broken")
    copy = lab.store.root / f"{lab.ids[0]} copy"
    copy.mkdir()
    (copy / RESULT).write_bytes(lab.store.folder(lab.ids[0]).result_path.read_bytes())
    opened.clear()
    pd.testing.assert_frame_equal(before, table(lab))
    assert opened == []


def test_a_copied_folder_does_not_count_as_another_run(lab: Lab) -> None:
    copy = lab.store.folder(run_name(99))
    copy.path.mkdir()
    copy.result_path.write_bytes(lab.store.folder(lab.ids[0]).result_path.read_bytes())
    cells = {**lab.cells, copy.id: lab.cells[lab.ids[0]]}
    assert len(lab.store.table(cells)) == 18
    assert lab.store.broken(cells) == {copy.id: f"is of run {lab.ids[0]}, not of {copy.id}"}


def test_a_cell_taken_out_and_put_back_is_not_read_again(lab: Lab, opened: list[str]) -> None:
    table(lab)
    os.utime(lab.store.folder(lab.ids[0]).result_path)
    opened.clear()
    assert len(table(lab, 4)) == 4
    assert len(table(lab)) == 18
    assert opened == [lab.ids[0]]


def test_studies_that_share_a_store_share_its_index(lab: Lab, opened: list[str]) -> None:
    ids = lab.ids
    one = {run_id: {"a": 1} for run_id in ids[:10]}
    other = {run_id: {"b.c": "x"} for run_id in ids[5:]}
    assert set(Store(lab.store.root).table(one, "one")["study"]) == {"one"}
    opened.clear()
    second = Store(lab.store.root).table(other, "other")
    assert sorted(opened) == ids[10:]
    assert set(second["study"]) == {"other"}
    assert set(second["c"]) == {"x"}
    opened.clear()
    assert len(Store(lab.store.root).table(one, "one")) == 10
    assert opened == []


def test_rows_of_removed_folders_leave_the_index(lab: Lab) -> None:
    table(lab)
    gone = lab.store.folder(lab.ids[0])
    for path in gone.path.iterdir():
        path.unlink()
    gone.path.rmdir()
    os.utime(lab.store.folder(lab.ids[1]).result_path)
    table(lab)
    assert set(pd.read_parquet(lab.store.root / INDEX)["run_id"]) == set(lab.ids[1:])


@pytest.mark.parametrize("text", ["", "{", '{"layout": 2}', "[]"])
def test_one_broken_result_leaves_out_one_run(lab: Lab, text: str) -> None:
    lab.store.folder(lab.ids[0]).result_path.write_text(text)
    assert len(table(lab)) == 17
    assert len(table(lab)) == 17, "also from the index"
    assert list(lab.store.broken(lab.ids)) == [lab.ids[0]]
    assert lab.store.finished(lab.ids) == set(lab.ids[1:])


def test_rows_that_were_not_compared_with_their_ids_are_read_again(lab: Lab, opened: list[str]) -> None:
    table(lab)
    opened.clear()
    wrong = lab.ids[4]

    def run_id_of(config: Any) -> str:
        cell = {"model.norm": config["model"]["norm"], "data.batch_size": config["data"]["batch_size"]}
        found = [run_id for run_id in lab.ids if lab.cells[run_id] == cell][config["seed"]]
        return run_name(98) if found == wrong else found

    checked = Store(lab.store.root, run_id_of).table(lab.cells)
    assert set(checked["run_id"]) == set(lab.ids) - {wrong}
    assert sorted(opened) == lab.ids
    opened.clear()
    assert len(Store(lab.store.root, run_id_of).table(lab.cells)) == 17
    assert opened == [wrong]


def test_no_run_at_all_gives_an_empty_table_with_its_columns(lab: Lab) -> None:
    for root in (lab.store.root / "nowhere", lab.store.root):
        frame = Store(root).table({run_name(50): {"model.norm": "batch", "width": 1}}, "empty")
        assert frame.empty
        assert list(frame.columns) == [*RESULT_COLUMNS, "width"]
    frame = lab.store.table({}, axes=["model.norm", "test_accuracy"])
    assert list(frame.columns) == [*RESULT_COLUMNS, "axis test_accuracy"]
    assert (frame.dtypes["test_accuracy"], frame.dtypes["steps"]) == ("float64", "int64")


def test_numbers_among_names_keep_an_order(lab: Lab) -> None:
    labels = ["same", 16, "all", 2.5]
    cells = {run_id: {"layout": labels[i % 4]} for i, run_id in enumerate(lab.ids)}
    frame = lab.store.table(cells)
    assert list(dict.fromkeys(frame["layout"])) == [2.5, 16, "all", "same"]


@pytest.mark.parametrize("labels", [[0.1, 2, 1e-05], ["1e-3", "02", "off"], [True, False], [2**70, 1]])
def test_labels_stay_as_written(lab: Lab, labels: list[Any]) -> None:
    cells = {run_id: {"width": labels[i % len(labels)]} for i, run_id in enumerate(lab.ids)}
    frame = lab.store.table(cells).set_index("run_id")
    for run_id, cell in cells.items():
        assert frame.loc[run_id, "width"] == cell["width"]
        assert isinstance(frame.loc[run_id, "width"], str) == isinstance(cell["width"], str)


READER = """
import sys
from normbench.store import Store
first, last = map(int, sys.argv[2:])
for end in range(first, last):
    Store(sys.argv[1]).table({f"{i:016x}": {"a": 1} for i in range(first, end + 1)})
"""


def test_several_processes_may_write_the_index(lab: Lab) -> None:
    command = [sys.executable, "-c", READER, str(lab.store.root)]
    processes = [subprocess.Popen([*command, *each]) for each in (("0", "9"), ("9", "18"), ("0", "18"))]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert len(table(lab)) == 18
    assert not list(lab.store.root.glob("*.tmp")) + list(lab.store.root.glob(".*.tmp"))


def test_numbers_of_a_result_come_back_to_every_digit(lab: Lab) -> None:
    run_id, value = lab.ids[0], 0.1 + 0.2
    result = run_result(run_id, norm="none", batch_size=8)
    result["metrics"]["test_accuracy"] = value
    lab.store.folder(run_id).write_result(result)
    for _ in range(2):
        assert repr(float(table(lab).set_index("run_id").loc[run_id, "test_accuracy"])) == repr(value)
