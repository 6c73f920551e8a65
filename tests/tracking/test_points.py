"""metrics.csv as rows, and back."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from normbench.store.columns import CURVE_COLUMNS
from normbench.tracking.points import POSITION, Follower, metrics_csv, points

TEXT = (
    "step,samples,epoch,seconds,split,metric,value\r\n"
    "2,64,0.1250,0.010,train,loss,2.25\r\n"
    "4,128,0.2500,0.020,train,loss,nan\r\n"
    "4,128,0.2500,0.020,validation,accuracy,0.5\r\n"
    "4,128,0.2500,0.020,validation,nll,1\r\n"
    "4,128,0.2500,0.020,test,accuracy,0.4\r\n"
)


def test_a_row_for_each_step_and_split() -> None:
    found = points(TEXT.splitlines())
    assert [sorted(row)[-1] for row in found] == ["train/loss", "train/loss", "validation/nll", "test/accuracy"]
    assert found[2] == {
        "step": 4,
        "samples": 128,
        "epoch": 0.25,
        "seconds": 0.02,
        "validation/accuracy": 0.5,
        "validation/nll": 1.0,
    }


def test_rows_give_the_file_back_to_the_byte() -> None:
    rows = points(TEXT.splitlines())
    assert metrics_csv(rows) == TEXT
    # As W&B gives it back: keys in any order, integral numbers as integers, no number as text, keys of its own.
    foreign = [{"_step": 3, "media/table": {"a": 1}, **dict(reversed(row.items()))} for row in rows]
    foreign[1]["train/loss"] = "NaN"
    foreign[2]["validation/nll"] = 1
    assert metrics_csv(foreign) == TEXT


def test_what_a_probe_measured_comes_back_too() -> None:
    names = ("dead/hidden.0/share", "dead/‖w‖", 'dead/a,b "c"', "dead/(x)")
    table = io.StringIO(newline="")
    csv.writer(table).writerows(
        [CURVE_COLUMNS, *([4, 128, "0.2500", "0.020", "probe", n, "0.25"] for n in sorted(names))]
    )
    rows = points(table.getvalue().splitlines())
    assert set(rows[0]) == {*POSITION, *(f"probe/{name}" for name in names)}
    assert metrics_csv(rows) == table.getvalue()
    assert metrics_csv([{**rows[0], "probe/two\nlines": 1.0, "probe/": 1.0}]) == table.getvalue(), "no line of its own"


@pytest.mark.parametrize("name", ["=HYPERLINK(1)", "+1", "-1", "@SUM(A1)"])
def test_what_a_spreadsheet_would_execute_is_left_out(name: str) -> None:
    rows = points(TEXT.splitlines())
    assert metrics_csv([{**rows[0], f"probe/{name}": 1.0}, *rows[1:]]) == TEXT


def test_a_second_look_at_a_step_is_a_row_of_its_own() -> None:
    twice = TEXT + "4,128,0.2500,0.020,test,accuracy,0.4\r\n"
    assert len(points(twice.splitlines())) == 5
    assert metrics_csv(points(twice.splitlines())) == twice


def test_broken_lines_are_left_out() -> None:
    assert points(["2,64,0.1,0.0,train,loss", "", "x,1,1,1,train,loss,1"]) == []


def test_a_follower_reads_what_is_new_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    follower = Follower(path)
    assert follower.read() == []
    cut = TEXT.index("validation,nll") + 5
    path.write_text(TEXT[:cut], newline="")
    assert [row["step"] for row in follower.read()] == [2, 4, 4]
    assert follower.read() == []
    path.write_text(TEXT, newline="")
    assert [list(row)[-1] for row in follower.read()] == ["validation/nll", "test/accuracy"]


@pytest.mark.parametrize("value", [0.9007, 1e-12, 123456.7, -0.0, float("inf")])
def test_values_survive_the_way_there_and_back(value: float) -> None:
    row = {"step": 1, "samples": 2, "epoch": 0.1, "seconds": 0.5, "train/loss": value}
    again = points(metrics_csv([row]).splitlines())[0]
    assert again == row
