"""Every legal name of an axis and of a label works in every table, figure and page, and comes back from every file."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import vl_convert

from normbench.report import write_tables
from normbench.report.figures import drawn_figures
from normbench.report.figures.registry import safe_name
from normbench.report.page.html import page
from normbench.report.tables import all_grids, csv_text, html_table, latex, markdown, read_csv
from normbench.stats import RESERVED_NAMES
from normbench.store import axis_columns

from .conftest import NOISE, MakeLab

GROUPED = [
    *("test_accuracy", "test_nll", "seed", "step", "metric", "n", "mean", "value", "samples", "split", "diff"),
    *("verdict", "mark", "baseline", "pairs", "seconds", "norm", "low", "high", "p", "family", "lr", "version"),
    *(
        "factor",
        "axis0",
        "panel",
        "kind",
        "x",
        "along",
        "treatment",
        "block",
        "contrast",
        "diverged",
        "dataset",
        "error_ratio",
    ),
    *("width: hidden", "width.hidden", "width [units]", "width/hidden", "width\\hidden", 'it\'s "quoted"', "w" * 300),
    *("[start", "*star", "=1+1", "+x", "-x", "@x", "ünï", "a|b", "<b>", "$x$ & {y} %", "../up", "datum.value", "CON"),
]
LABELS = ("[narrow]", "=wide")


def outcome(cell: Mapping[str, Any], seed: int) -> float:
    """Known means: .80 and .90 by the level of the axis, a bit more for group norm."""
    group = cell.get("model.norm") == "group"
    return (0.80 if LABELS[0] in cell.values() else 0.90) + NOISE[seed * (1 + group)] + 0.01 * group


@pytest.mark.parametrize("name", GROUPED)
@pytest.mark.parametrize("role", ["across", "factor"])
def test_any_name_of_a_grouped_axis(make_lab: MakeLab, name: str, role: str, tmp_path: Path) -> None:
    grouped = {LABELS[0]: {"model.dropout": 0.1}, LABELS[1]: {"model.dropout": 0.2}}
    compare = {"factor": name, "baseline": LABELS[0]} if role == "factor" else {}
    lab = make_lab(outcome, {"model.norm": ["batch", "group"], name: grouped}, compare, seeds=2)
    evidence = lab.evidence()
    column = evidence.columns[name]
    assert evidence.title(column) == name
    check(evidence, tmp_path)
    runs = read_csv(tmp_path / "results.csv")
    assert set(runs[column]) == set(LABELS)
    assert runs["test_accuracy"].between(0.79, 0.92).all()
    cells = read_csv(tmp_path / "comparison.csv")
    cells = cells[cells["metric"] == "test_accuracy"].set_index([column, "norm"] if column != "norm" else [column])
    assert cells.loc[(LABELS[0], "batch"), "mean"] == pytest.approx(0.80 + (NOISE[0] + NOISE[1]) / 2)


def check(evidence: Any, folder: Path) -> None:
    """Everything is written, every chart has data in its axes, and every file reads back."""
    write_tables(evidence, folder)
    for grid in all_grids(evidence):
        rows = [line for line in markdown(grid).splitlines() if line.startswith("|")]
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1
        assert html_table(grid, "x").count("<tr>") == len(grid.rows) + 1
        body = latex(grid).partition("\\midrule\n")[2]
        assert not re.search(r"^[\[*]", body, re.MULTILINE)
    for name, figure in drawn_figures(evidence).items():
        assert name == safe_name(name)
        svg = vl_convert.vegalite_to_svg(figure.spec, show_warnings=True)
        assert "undefined" not in svg
        assert "NaN" not in svg
        for row in (row for rows in figure.spec["datasets"].values() for row in rows):
            assert all(re.fullmatch(r"\w+", field) for field in row)
        assert figure.data.columns.is_unique
    document = page(evidence)
    specs = re.search(r"const SPECS = (.*?); const RUNS", document, re.DOTALL)
    assert specs
    assert json.loads(specs[1]).keys() == drawn_figures(evidence).keys()


def test_keys_of_the_configuration_as_axes(make_lab: MakeLab, tmp_path: Path) -> None:
    """`budget.samples` is a column of every result; both momentums end in the same word."""
    grid = {
        "budget.samples": [640, 1280],
        "model.norm": ["batch"],
        "model.norm_options.momentum": [0.5, 0.1],
        "optimizer.momentum": [0.5, 0.9],
    }
    lab = make_lab(
        lambda c, s: 0.9 + c["optimizer.momentum"] / 100 + NOISE[s],
        grid,
        {"factor": "optimizer.momentum", "baseline": 0.9},
        seeds=2,
    )
    evidence = lab.evidence()
    assert len(set(evidence.columns.values())) == 4
    check(evidence, tmp_path)
    runs = read_csv(tmp_path / "results.csv")
    assert set(runs[evidence.columns["budget.samples"]]) == {640, 1280}
    assert set(runs["samples"]) == {640, 1280}
    assert len(runs) == 16


def test_no_column_of_an_axis_is_one_of_the_statistics() -> None:
    names = sorted(RESERVED_NAMES | {"dataset", "seed", "treatment", "factor"})
    columns = axis_columns(names)
    assert not set(columns.values()) & (RESERVED_NAMES | {"seed"})
    assert len(set(columns.values())) == len(names)


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-x", "@SUM(A1)", "'=1", "''-x", "'plain", "a=b", "None", "nan", "-", "\t="]
)
def test_csv_is_no_formula_and_reads_back(text: str) -> None:
    frame = pd.DataFrame({text: [text, "other"], "number": [-1.5, 2.0]})
    written = csv_text(frame)
    for cell in (line.split(",")[0] for line in written.splitlines()):
        assert not re.match(r'"?[=+\-@\t]', cell)
    assert "-1.5" in written
    pd.testing.assert_frame_equal(read_csv(written), frame)
