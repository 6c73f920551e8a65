"""Rates that a study takes from a file."""

from pathlib import Path
from typing import Any

import pytest

from normbench.errors import UsageError
from normbench.study import changed_study, load_study, make_plan

from .conftest import TREE, Write, plan

NORMS = ["none", "batch"]
GRID = {"model.norm": NORMS, "data.batch_size": [8, 32]}
ROWS = [(norm, size, 0.01 * (1 + i) * size) for i, norm in enumerate(NORMS) for size in (8, 32)]
CSV = "model.norm,data.batch_size,optimizer.lr\n" + "".join(f"{norm},{size},{lr}\n" for norm, size, lr in ROWS)
YAML = "pilot: first\nseeds: [1000, 1001]\nrates:\n" + "".join(
    f"  - {{model.norm: {norm}, data.batch_size: {size}, optimizer.lr: {lr}, val_accuracy: 0.9}}\n"
    for norm, size, lr in ROWS
)
BASE = {**TREE["base"], "optimizer": {"lr": {"from": "rates.csv"}}}


@pytest.mark.parametrize(("name", "text"), [("rates.csv", CSV), ("rates.yaml", YAML)])
def test_each_cell_has_the_rate_of_its_labels(write: Write, tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    for base in ({"optimizer": {"lr": {"from": name}}}, {"optimizer.lr": {"from": name}}):
        study = load_study(write(grid=GRID, base={**TREE["base"], **base}))
        found = {
            (r.cell["model.norm"], r.cell["data.batch_size"]): r.config.optimizer.lr for r in make_plan(study).runs
        }
        assert found == {(norm, size): pytest.approx(lr) for norm, size, lr in ROWS}
    named = make_plan(changed_study(study, {"optimizer.lr": 0.5}))
    assert {run.config.optimizer.lr for run in named.runs} == {0.5}


def test_the_same_rates_by_hand_are_the_same_runs(write: Write, tmp_path: Path) -> None:
    (tmp_path / "rates.csv").write_text("model.norm,optimizer.lr\nnone,0.1\nbatch,0.1\n")
    ids = plan(write(grid=GRID, base=BASE)).ids
    assert ids == plan(write(grid=GRID, base={**TREE["base"], "optimizer": {"lr": 0.1}})).ids


def test_own_and_shared_rates_are_an_axis(write: Write, tmp_path: Path) -> None:
    (tmp_path / "rates.csv").write_text(CSV)
    rate = {"own": {"optimizer.lr": {"from": "rates.csv"}}, "shared": {"optimizer": {"lr": 0.02}}}
    compare = {"factor": "model.norm", "baseline": "batch", "across": ["rate", "data.batch_size"]}
    for axis, values in (("rate", rate), ("optimizer.lr", [{"from": "rates.csv"}, 0.02])):
        given = {**compare, "across": [axis, "data.batch_size"]}
        runs = plan(write(grid={**GRID, axis: values}, compare=given)).runs
        shared = {run.config.optimizer.lr for run in runs if run.cell[axis] in ("shared", 0.02)}
        own = {run.config.optimizer.lr for run in runs if run.cell[axis] in ("own", "from rates.csv")}
        assert shared == {0.02}
        assert sorted(own) == pytest.approx(sorted(lr for _, _, lr in ROWS))


def test_an_axis_of_the_pilot_may_be_a_key_that_labels_set(write: Write, tmp_path: Path) -> None:
    (tmp_path / "rates.csv").write_text(CSV)
    sizes = {"few": {"data.batch_size": 8}, "many": {"data": {"batch_size": 32}}}
    runs = plan(
        write(
            grid={"model.norm": NORMS, "size": sizes}, base=BASE, compare={"factor": "model.norm", "baseline": "batch"}
        )
    ).runs
    found = {(run.cell["model.norm"], run.config.data.batch_size): run.config.optimizer.lr for run in runs}
    assert found == {(norm, size): pytest.approx(lr) for norm, size, lr in ROWS}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, r"no file of rates at rates\.csv: write it by normbench tune PILOT --to rates\.csv"),
        (
            "model.norm,optimizer.lr\nnone,0.1\n",
            r"cell model\.norm=batch.*names no rate for model\.norm=batch: tune it",
        ),
        ("model.nrom,optimizer.lr\nnone,0.1\n", r"unknown axis 'model\.nrom': did you mean 'model\.norm'\?"),
        ("model.norm,optimizer.lr\nnone,fast\n", r"'fast' is no learning rate"),
        ("model.norm,optimizer.lr\nnone,-1\n", r"optimizer\.lr=-1.*above 0"),
        ("model.norm,optimizer.lr\nnone,1\nnone,2\n", r"names none twice: keep one row"),
        ("model.norm\nnone\n", r"has no rates: give rows"),
        ("model.norm,optimizer.lr,seeds\nnone,0.1,1 7\nbatch,0.1,1 7\n", r"was chosen on seed 1, which the study repo"),
    ],
)
def test_what_a_file_of_rates_cannot_mean(write: Write, tmp_path: Path, text: str | None, said: str) -> None:
    if text is not None:
        (tmp_path / "rates.csv").write_text(text)
    with pytest.raises(UsageError, match=said) as caught:
        plan(write(grid=GRID, base=BASE))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("given", [{"form": "rates.csv"}, {"from": 3}])
def test_a_rate_is_a_number_or_a_file(write: Write, given: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"is no rate: give a number, or \{from: FILE\}"):
        load_study(write(base={**TREE["base"], "optimizer": {"lr": given}}))
