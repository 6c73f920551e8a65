"""Axes have a namespace of their own: no text, however hostile, replaces a column or another axis."""

import itertools

import pytest

from normbench.store import axis_columns
from normbench.store.axes import OTHERS
from normbench.store.columns import RESULT_COLUMNS

from .conftest import Lab

NASTY = [
    "width: hidden",
    "a.b: c",
    "model.norm ",
    "width [units]",
    "width/hidden",
    'it\'s "quoted"',
    "w" * 300,
    "ends with .",
    ".",
    "..",
    "v1.5",
    "größe",
    "<script>alert(1)</script>",
    "$x_2^2$",
    "a\nb",
    "\\",
    " ",
    "axis seed",
    "axis axis seed",
    "seed",
    "step",
    "steps",
    "test_accuracy",
    "metric",
    "n",
    "mean",
    "value",
    "samples",
    "split",
    "diff",
    "verdict",
    "mark",
    "baseline",
    "pairs",
    "seconds",
    "test_nll",
    "norm",
    "lr",
    "version",
    "study",
    "run_id",
    "index",
    "budget.samples",
    "budget.steps",
    "trainer.devices",
    "model.norm_options.momentum",
    "optimizer.momentum",
    "momentum",
    "data.name",
    "model.name",
    "model.norm",
    "optimizer.lr",
    "base_lr",
]


@pytest.mark.parametrize(
    ("axis", "name"),
    [
        ("model.norm", "norm"),
        ("data.batch_size", "batch_size"),
        ("data.name", "dataset"),
        ("model.name", "model"),
        ("optimizer.lr", "base_lr"),
        ("trainer.virtual_devices", "virtual_devices"),
        ("model.norm_options.eps", "eps"),
        ("optimizer.momentum", "momentum"),
        ("layout", "layout"),
        ("model", "axis model"),  # a grouped axis: its labels are not names of models
        ("norm", "axis norm"),
        ("budget.samples", "budget.samples"),
        ("budget.steps", "budget.steps"),
        ("trainer.devices", "trainer.devices"),  # the column has devices times nodes
        ("data.train_samples", "train_samples"),
        ("test_accuracy", "axis test_accuracy"),
        ("seed", "axis seed"),
        ("lr", "axis lr"),
        ("mean", "axis mean"),
        ("width: 1.5", "width: 1.5"),
        ("v1.5", "v1.5"),
        ("width [units]", "width [units]"),
        ("w" * 300, "w" * 300),
        ("", ""),
    ],
)
def test_column_of_an_axis(axis: str, name: str) -> None:
    assert axis_columns([axis]) == {axis: name}


def test_two_axes_with_one_last_part_are_two_columns() -> None:
    both = ["model.norm_options.momentum", "optimizer.momentum"]
    assert axis_columns(both) == {name: name for name in both}
    assert axis_columns(["momentum", "optimizer.momentum"]) == {
        "momentum": "momentum",
        "optimizer.momentum": "optimizer.momentum",
    }
    assert axis_columns(["base_lr", "optimizer.lr"]) == {"base_lr": "base_lr", "optimizer.lr": "optimizer.lr"}
    assert axis_columns(["norm", "model.norm"]) == {"norm": "axis norm", "model.norm": "norm"}
    assert axis_columns(["seed", "axis seed"]) == {"seed": "axis axis seed", "axis seed": "axis seed"}


def test_any_two_names_have_two_columns_of_their_own() -> None:
    own = {"norm", "batch_size", "dataset", "model", "virtual_devices"}
    for pair in itertools.combinations(NASTY, 2):
        columns = axis_columns(pair)
        assert list(columns) == list(pair)
        assert len(set(columns.values())) == 2, pair
        assert axis_columns(pair[::-1]) == columns, "whatever the order"
        for axis, name in columns.items():
            assert name not in (OTHERS | set(RESULT_COLUMNS)) - (own if "." in axis else set()), pair


def test_all_nasty_names_at_once() -> None:
    columns = axis_columns(NASTY)
    assert len(set(columns.values())) == len(NASTY)


@pytest.mark.parametrize("axis", NASTY)
def test_an_axis_of_any_name_leaves_the_measured_values_alone(lab: Lab, axis: str) -> None:
    before = lab.store.table(lab.cells).set_index("run_id").sort_index()
    factor = "model.norm" if axis != "model.norm" else "kind of norm"
    cells = {
        run_id: {factor: cell["model.norm"], axis: "narrow" if cell["data.batch_size"] == 8 else "wide"}
        for run_id, cell in lab.cells.items()
    }
    after = lab.store.table(cells).set_index("run_id").sort_index()
    name = axis_columns([factor, axis])[axis]
    labelled = {name, axis_columns([factor, axis])[factor]}
    for column in set(RESULT_COLUMNS) - labelled - {"run_id"}:
        assert before[column].equals(after[column]), column
    assert after[name].tolist() == [
        "narrow" if lab.cells[run_id]["data.batch_size"] == 8 else "wide" for run_id in after.index
    ]
