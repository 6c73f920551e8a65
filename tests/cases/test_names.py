"""K8, K11: any name of an axis, any label and any terminal."""

import csv
import json
import os
from pathlib import Path

import pytest

from normbench.spec import yaml_text

from ..conftest import RunCli
from .conftest import WriteText

pytestmark = pytest.mark.slow

NAMES = ["test_accuracy", "width [units]", "width: hidden", "seed", "width/hidden", "metric", "n", "mean", "value"]
NAMES += [
    "step",
    "samples",
    "lr",
    "verdict",
    "baseline",
    "norm",
    "run_id",
    "x" * 300,
    '"',
    "a.b",
    "$x_1$",
    "ü",
    "index",
]


def text(name: str, axis: str) -> str:
    return yaml_text(
        {
            "name": name,
            "question": f"An axis called {axis}?",
            "base": {
                "data": {"name": "mnist_5k", "batch_size": 32, "train_samples": 320},
                "model": {"name": "mlp"},
                "budget": {"steps": 4},
                "optimizer": {"lr": 0.01},
                "trainer": {"accelerator": "cpu", "validations": 1, "loss_points": 2},
            },
            "grid": {
                "model.norm": ["batch", "layer"],
                axis: {"no": {"model.hidden": [16]}, "64": {"model.hidden": [8]}},
            },
            "seeds": 2,
            "compare": {"factor": "model.norm", "baseline": "batch"},
        }
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The eight runs that all these studies share."""
    return tmp_path_factory.mktemp("runs")


def test_case_10_any_name_of_an_axis_has_a_report(
    run_cli: RunCli, write: WriteText, runs: Path, tmp_path: Path
) -> None:
    for index, axis in enumerate(NAMES):
        path = write(f"s{index}.yaml", text(f"s{index}", axis))
        assert run_cli("run", path, "--runs", runs, "--workers", 1).status == 0
        said = run_cli("tables", path, "--runs", runs, "--reports", tmp_path / "reports")
        assert said.status == 0, (axis, said.err)
        rows = list(csv.DictReader((tmp_path / "reports" / f"s{index}" / "results.csv").open(encoding="utf-8")))
        assert len(rows) == 8
        measured = {json.loads(p.read_text())["metrics"]["test_accuracy"] for p in runs.glob("*/result.json")}
        assert {float(row["test_accuracy"]) for row in rows} == measured, "an axis does not replace what was measured"
        assert [sorted(set(r.values()) & {"no", "64"}) for r in rows].count([]) == 0, "labels as written"


def test_case_10_reports_with_figures(run_cli: RunCli, write: WriteText, runs: Path, tmp_path: Path) -> None:
    for index, axis in enumerate(("test_accuracy", "width: [a]/b", "seed")):
        path = write(f"f{index}.yaml", text(f"f{index}", axis))
        assert run_cli("run", path, "--runs", runs, "--workers", 1).status == 0
        said = run_cli("report", path, "--runs", runs, "--reports", tmp_path / "reports")
        assert said.status == 0, (axis, said.err)
    budgets = write("budgets.yaml", BUDGETS)
    assert run_cli("run", budgets, "--runs", runs, "--workers", 1).status == 0
    said = run_cli("report", budgets, "--runs", runs, "--reports", tmp_path / "reports")
    assert said.status == 0, said.err


BUDGETS = """
name: budgets
question: Keys of the configuration whose last parts are columns, or the same
base:
  data: {name: mnist_5k, batch_size: 32, train_samples: 320}
  model: {name: mlp, norm: batch}
  trainer: {accelerator: cpu}
grid: {budget.samples: [64, 128], model.norm_options.momentum: [0.1, 0.5], optimizer.momentum: [0.5, 0.9]}
seeds: 1
compare: {factor: optimizer.momentum, baseline: 0.5}
"""

DIVERGING = """
name: c1
question: How does a run count whose last update ruins the weights?
base:
  data: {name: mnist_5k, batch_size: 32}
  model: {name: mlp, norm: none}
  budget: {steps: 1}
  trainer: {accelerator: cpu}
grid: {rate: {good: {optimizer.lr: 0.01}, bad: {optimizer.lr: 1e30}}}
seeds: 2
compare: {factor: rate, baseline: good}
"""


def test_case_15_a_level_that_diverges_in_every_run_has_a_report(
    run_cli: RunCli, write: WriteText, tmp_path: Path
) -> None:
    path = write("c1.yaml", DIVERGING)
    words = (path, "--runs", tmp_path / "r")
    assert run_cli("run", *words, "--workers", 1).status == 0
    said = run_cli("report", *words, "--reports", tmp_path / "reports")
    assert said.status == 0, said.err
    rows = list(csv.DictReader((tmp_path / "reports" / "c1" / "results.csv").open(encoding="utf-8")))
    assert sorted(row["diverged_at_step"] for row in rows) == ["", "", "1", "1"]
    assert "2 of 2 diverged" in (tmp_path / "reports" / "c1" / "comparison.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_case_26_compare_on_any_terminal(
    run_cli: RunCli, cli_process: RunCli, write: WriteText, runs: Path, tmp_path: Path, encoding: str
) -> None:
    for name in ("one", "two"):
        path = write(f"{name}.yaml", text(name, "größe−"))
        assert run_cli("run", path, "--runs", runs, "--workers", 1).status == 0
        assert run_cli("tables", path, "--runs", runs, "--reports", tmp_path / "reports").status == 0
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    said = cli_process("compare", "one", "two", "--reports", tmp_path / "reports", env=environment, encoding=encoding)
    assert (said.status, said.err) == (0, "")
    assert "batch" in said.out
