"""The results table and its index: what a row says, and that a second reading opens only what is new."""

import json
import os
from pathlib import Path

import pandas as pd
import pytest

from normbench.store import table as results
from normbench.errors import RunFolderError
from normbench.store.folder import METRICS, RESULT
from normbench.store.table import INDEX, column, curves, results_table

from .conftest import NOISE, Lab, MakeLab, typical, write_run

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
]


def table(lab: Lab) -> pd.DataFrame:
    return results_table(lab.name, lab.folder, {run.id: run.cell for run in lab.planned()})


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the run folders whose result was opened."""
    names: list[str] = []

    def read(folder: Path) -> object:
        names.append(folder.name)
        return original(folder)

    original = results.read_result
    monkeypatch.setattr(results, "read_result", read)
    return names


def test_has_the_columns_asked_for_and_one_row_a_run(written: Lab) -> None:
    frame = pd.read_csv(written.report / "results.csv")
    assert [name for name in frame.columns if name in ASKED] == ASKED
    assert len(frame) == len(written.planned()) == 18
    assert not frame.duplicated(["norm", "batch_size", "seed"]).any()


def test_a_row_says_what_the_run_folder_says(written: Lab) -> None:
    frame = pd.read_csv(written.report / "results.csv")
    row = frame[(frame["norm"] == "group") & (frame["batch_size"] == 32) & (frame["seed"] == 1)].iloc[0]
    assert row["study"] == "synthetic"
    assert row["dataset"] == "mnist"
    assert row["model"] == "digit_cnn"
    assert row["test_accuracy"] == pytest.approx(0.968 + 0.002 - 0.004)
    assert row["test_nll"] == pytest.approx(2 * (1 - 0.966))
    assert (row["steps"], row["samples"], row["images_per_statistic"], row["devices"]) == (20, 640, 1, 1)
    assert row["seconds"] == 11.0
    assert pd.isna(row["diverged_at_step"])
    batch = frame[(frame["norm"] == "batch") & (frame["batch_size"] == 32)]
    assert set(batch["images_per_statistic"]) == {32}
    assert set(frame[frame["norm"] == "none"]["images_per_statistic"]) == {0}


def test_a_diverged_run_has_its_step_and_no_metric(written: Lab) -> None:
    frame = pd.read_csv(written.report / "results.csv")
    row = frame[frame["diverged_at_step"].notna()]
    assert row[["norm", "batch_size", "seed", "diverged_at_step"]].to_numpy().tolist() == [["none", 32, 2, 7]]
    assert row[["test_accuracy", "train_loss"]].isna().all(axis=None)


def test_a_second_reading_opens_only_what_is_new(typical_lab: Lab, opened: list[str]) -> None:
    runs = typical_lab.planned()
    (typical_lab.folder / runs[3].id / RESULT).rename(typical_lab.folder / "kept.json")
    (typical_lab.folder / INDEX).unlink()
    assert len(table(typical_lab)) == 17
    assert len(opened) == 17
    opened.clear()
    (typical_lab.folder / "kept.json").rename(typical_lab.folder / runs[3].id / RESULT)
    first = table(typical_lab)
    assert opened == [runs[3].id]
    assert len(first) == 18
    opened.clear()
    pd.testing.assert_frame_equal(first, table(typical_lab))
    assert opened == []


def test_a_changed_and_a_removed_result_are_noticed(typical_lab: Lab) -> None:
    before = table(typical_lab)
    first, second = typical_lab.planned()[:2]
    path = typical_lab.folder / first.id / RESULT
    text = json.loads(path.read_text())
    text["metrics"]["test_accuracy"] = 0.5
    path.write_text(json.dumps(text))
    os.utime(path, ns=(1, 1))  # a clock that was set back changes the file as well
    (typical_lab.folder / second.id / RESULT).unlink()
    after = table(typical_lab).set_index("run_id")
    assert after.loc[first.id, "test_accuracy"] == 0.5
    assert second.id not in after.index
    assert len(after) == len(before) - 1


@pytest.mark.parametrize("content", [b"", b"not parquet", b"PAR1" * 50])
def test_a_corrupt_index_is_ignored_and_replaced(typical_lab: Lab, content: bytes, opened: list[str]) -> None:
    before = table(typical_lab)
    opened.clear()
    (typical_lab.folder / INDEX).write_bytes(content)
    pd.testing.assert_frame_equal(before, table(typical_lab))
    assert len(opened) == 18
    pd.read_parquet(typical_lab.folder / INDEX)


def test_an_index_of_another_version_is_ignored(typical_lab: Lab) -> None:
    before = table(typical_lab)
    index = pd.read_parquet(typical_lab.folder / INDEX)
    index.assign(test_accuracy=0.0, layout=99).to_parquet(typical_lab.folder / INDEX)
    pd.testing.assert_frame_equal(before, table(typical_lab))
    index.drop(columns="lr").to_parquet(typical_lab.folder / INDEX)
    pd.testing.assert_frame_equal(before, table(typical_lab))


def test_a_folder_that_can_only_be_read_is_read(typical_lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    before = table(typical_lab)
    (typical_lab.folder / INDEX).unlink()

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", refuse)  # the tests' user may be root, whom no mode stops
    pd.testing.assert_frame_equal(before, table(typical_lab))
    assert not (typical_lab.folder / INDEX).exists()


def test_folders_that_are_not_of_the_plan_are_not_read(typical_lab: Lab, opened: list[str]) -> None:
    before = table(typical_lab)
    stray = typical_lab.folder / "0123456789abcdef"
    stray.mkdir()
    (stray / RESULT).write_text("{broken")
    run = typical_lab.planned()[0]
    copy = typical_lab.folder / f"{run.id} copy"
    copy.mkdir()
    (copy / RESULT).write_bytes((typical_lab.folder / run.id / RESULT).read_bytes())
    opened.clear()
    pd.testing.assert_frame_equal(before, table(typical_lab))
    assert opened == []


def test_a_cell_taken_out_and_put_back_is_not_read_again(typical_lab: Lab, opened: list[str]) -> None:
    cells = {run.id: run.cell for run in typical_lab.planned()}
    some = dict(list(cells.items())[:4])
    gone = typical_lab.folder / next(iter(cells)) / RESULT
    os.utime(gone)
    opened.clear()
    assert len(results_table(typical_lab.name, typical_lab.folder, some)) == 4
    assert len(results_table(typical_lab.name, typical_lab.folder, cells)) == 18
    assert opened == [gone.parent.name]


def test_a_broken_result_is_named(typical_lab: Lab) -> None:
    run = typical_lab.planned()[0]
    (typical_lab.folder / run.id / RESULT).write_text("{")
    with pytest.raises(RunFolderError, match=run.id):
        typical_lab.evidence()


def test_no_run_at_all_gives_an_empty_table_with_its_columns(make_lab: MakeLab) -> None:
    frame = table(make_lab(lambda cell, seed: None))
    assert frame.empty
    assert set(ASKED) <= set(frame.columns)


def test_numbers_among_names_keep_the_order_of_the_study(make_lab: MakeLab) -> None:
    grid = {"model.norm": ["none", "batch"], "data.train_samples": [None, 3000]}
    lab = make_lab(lambda cell, seed: 0.9 + NOISE[seed], grid)
    lab.write("tables")
    heading = (lab.report / "comparison.md").read_text().split("| --- |")[0]
    assert "train_samples None | train_samples 3000" in heading


def test_a_curve_with_a_broken_line_is_named(written: Lab, tmp_path: Path) -> None:
    for run in written.planned()[:2]:
        write_run(tmp_path, run, typical(run.cell, run.seed))
    path = tmp_path / written.planned()[0].id / METRICS
    assert len(curves(tmp_path, [run.id for run in written.planned()[:3]])) == 20  # the third has no file
    path.write_text(path.read_text().rstrip("\n").rsplit("\n", 1)[0] + "\n\n")
    with pytest.raises(RunFolderError, match="broken line"):
        curves(tmp_path, [path.parent.name])


@pytest.mark.parametrize(
    ("axis", "name"), [("model.norm", "norm"), ("optimizer.lr", "base_lr"), ("model.norm_options.eps", "eps")]
)
def test_columns_of_axes(axis: str, name: str) -> None:
    assert column(axis) == name
