"""`normbench compare`: two versions of a study side by side, or the field in which they do not compare."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from normbench.errors import UsageError
from normbench.report.compare import load_side, side_by_side
from tests.conftest import RunCli

from .conftest import NOISE, Lab, MakeLab

Edit = Callable[[pd.DataFrame, dict[str, Any]], None]


@pytest.fixture
def twin(typical_lab: Lab) -> Callable[..., Path]:
    """Copies the report under another name, edited: its results table and its facts."""

    def make(name: str = "twin", edit: Edit | None = None) -> Path:
        folder = typical_lab.reports / name
        shutil.copytree(typical_lab.report, folder)
        runs, facts = pd.read_csv(folder / "results.csv"), json.loads((folder / "study.json").read_text())
        if edit:
            edit(runs, facts)
        runs.to_csv(folder / "results.csv", index=False)
        (folder / "study.json").write_text(json.dumps(facts))
        return folder

    return make


def lower(runs: pd.DataFrame, facts: dict[str, Any]) -> None:
    runs["test_accuracy"] -= 0.02 + runs["seed"].map(dict(enumerate(NOISE))) / 50


def test_two_versions_side_by_side(typical_lab: Lab, twin: Callable[..., Path]) -> None:
    twin(edit=lower)
    sides = [load_side(name, typical_lab.reports) for name in ("synthetic", "twin")]
    grid = side_by_side(sides)
    assert grid.columns == ["synthetic", "twin", "twin − synthetic"]
    assert len(grid.rows) == 6
    cells = [cell.text for cell in dict(grid.rows)["norm batch, batch_size 8"]]
    assert cells[0].startswith("97.03 ± ")
    assert cells[1].startswith("95.03 ± ")
    assert re.fullmatch(r"-2\.00 points \(-2\.\d\d to -1\.\d\d\): worse", cells[2])
    assert "paired by seed and cell" in grid.footnote
    assert "95 % intervals hold for all 6 comparisons shown at once" in grid.footnote


def test_the_same_numbers_are_not_told_apart(typical_lab: Lab, twin: Callable[..., Path], run_cli: RunCli) -> None:
    folder = twin()
    said = run_cli("compare", "synthetic", folder, "--reports", typical_lab.reports)
    assert said.status == 0
    assert "+0.00 points" in said.out
    assert "better" not in said.out
    assert "worse" not in said.out


def test_cells_of_one_side_alone_are_left_out(typical_lab: Lab, twin: Callable[..., Path]) -> None:
    def edit(runs: pd.DataFrame, facts: dict[str, Any]) -> None:
        runs.loc[runs["norm"] == "group", "norm"] = "mine"

    twin(edit=edit)
    grid = side_by_side([load_side(name, typical_lab.reports) for name in ("synthetic", "twin")])
    assert len(grid.rows) == 4


@pytest.mark.parametrize("field", ["dataset", "model", "samples", "steps", "lr"])
def test_a_field_that_differs_is_named_and_can_be_allowed(
    typical_lab: Lab, twin: Callable[..., Path], field: str, run_cli: RunCli
) -> None:
    def edit(runs: pd.DataFrame, facts: dict[str, Any]) -> None:
        other = "other" if field in ("dataset", "model") else 7
        runs[field] = runs[field].astype(object).where(runs["seed"] != 1, other)

    twin(edit=edit)
    said = run_cli("compare", "synthetic", "twin", "--reports", typical_lab.reports)
    assert said.status == 2
    assert f"synthetic and twin are not comparable: {field} is " in said.error
    assert f"--allow {field}" in said.error
    assert run_cli("compare", "synthetic", "twin", "--reports", typical_lab.reports, "--allow", field).status == 0


def test_a_configuration_that_differs_is_named_and_can_be_allowed(typical_lab: Lab, twin: Callable[..., Path]) -> None:
    def edit(runs: pd.DataFrame, facts: dict[str, Any]) -> None:
        facts["configuration"]["optimizer.momentum"] = 0.5

    twin(edit=edit)
    sides = [load_side(name, typical_lab.reports) for name in ("synthetic", "twin")]
    with pytest.raises(UsageError, match=r"optimizer.momentum is 0.9 and 0.5; --allow optimizer.momentum"):
        side_by_side(sides)
    assert len(side_by_side(sides, ["optimizer.momentum"]).rows) == 6


def other_axes(runs: pd.DataFrame, facts: dict[str, Any]) -> None:
    facts["axes"] = ["norm"]


def other_seeds(runs: pd.DataFrame, facts: dict[str, Any]) -> None:
    runs["seed"] += 100


@pytest.mark.parametrize(
    ("edit", "words"),
    [(other_axes, "their axes are norm, batch_size and norm"), (other_seeds, "no cell and seed in common")],
)
def test_other_designs_are_refused(typical_lab: Lab, twin: Callable[..., Path], edit: Edit, words: str) -> None:
    twin(edit=edit)
    with pytest.raises(UsageError, match=words):
        side_by_side([load_side(name, typical_lab.reports) for name in ("synthetic", "twin")])


@pytest.mark.parametrize(
    ("sides", "words"),
    [
        (["synthetic", "absent"], "no report of 'absent'"),
        (["synthetic"], "two reports or more"),
        (["synthetic", "synthetic"], "the same report is given twice"),
    ],
)
def test_wrong_requests(written: Lab, sides: list[str], words: str, run_cli: RunCli) -> None:
    said = run_cli("compare", *sides, "--reports", written.reports)
    assert said.status == 2
    assert words in said.error


def test_a_label_none_is_a_label(typical_lab: Lab, twin: Callable[..., Path]) -> None:
    """`None` (all training images) is a value of an axis, not a hole in a table."""

    def edit(runs: pd.DataFrame, facts: dict[str, Any]) -> None:
        runs["norm"] = runs["norm"].replace("none", "None")

    folders = [twin("one", edit), twin("two", edit)]
    grid = side_by_side([load_side(str(folder), typical_lab.reports) for folder in folders])
    assert "norm None, batch_size 8" in dict(grid.rows)


def test_one_study_on_two_data_sets_compares_each_with_itself(make_lab: MakeLab) -> None:
    """`--allow dataset` raised: each cell of the study had two runs of a seed."""
    lab = make_lab(lambda cell, seed: 0.97 + NOISE[seed])
    make_lab(lambda cell, seed: 0.87 + NOISE[seed], fallback=True)
    lab.write("tables")
    shutil.copytree(lab.report, lab.reports / "again")
    grid = side_by_side([load_side(name, lab.reports) for name in ("synthetic", "again")], ["dataset"])
    assert len(grid.rows) == 12
    means = {name: cells[0].text[:2] for name, cells in grid.rows}
    assert {name: mean for name, mean in means.items() if "mnist_5k" in name} == dict.fromkeys(
        (name for name in means if "mnist_5k" in name), "87"
    )


def test_an_axis_called_version_is_an_axis(make_lab: MakeLab) -> None:
    lab = make_lab(
        lambda cell, seed: 0.9 + NOISE[seed],
        {"model.norm": ["batch", "group"], "version": {"a": {"model.dropout": 0.0}, "b": {"model.dropout": 0.5}}},
    )
    lab.write("tables")
    shutil.copytree(lab.report, lab.reports / "again")
    grid = side_by_side([load_side(name, lab.reports) for name in ("synthetic", "again")])
    assert [name for name, _ in grid.rows][:2] == ["norm batch, version a", "norm batch, version b"]


def test_numbers_among_names_are_the_same_labels(twin: Callable[..., Path], typical_lab: Lab) -> None:
    """One side's axis has a name besides, so its file has the numbers as text: no cell was in common."""

    def named(runs: pd.DataFrame, facts: dict[str, Any]) -> None:
        other = runs[runs["batch_size"] == runs["batch_size"].min()].assign(batch_size="own")
        runs["batch_size"] = runs["batch_size"].astype(object)
        for place, row in enumerate(other.to_dict("records"), len(runs)):
            runs.loc[place] = row

    reports = typical_lab.reports
    plain, more = twin("plain"), twin("more", named)
    sides = [load_side(str(typical_lab.report), reports), load_side(str(plain), reports)]
    mixed = [sides[0], load_side(str(more), reports)]
    assert mixed[1].runs["batch_size"].nunique() == sides[0].runs["batch_size"].nunique() + 1
    assert len(side_by_side(mixed).rows) == len(side_by_side(sides).rows) > 1
