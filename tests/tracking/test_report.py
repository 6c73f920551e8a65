"""The W&B report: made once, updated ever after, and written without any network."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import normbench
from normbench.report.evidence import Evidence
from normbench.spec import yaml_text
from normbench.store import Store
from normbench.store.predictions import write_predictions
from normbench.study import load_study, make_plan
from normbench.tracking import publish
from tests.conftest import RunCli
from tests.tracking.conftest import KEY, SMALL, made_up
from tests.tracking.fake_server import FakeWandb

pytestmark = pytest.mark.filterwarnings("ignore:Pydantic V1 style")  # wandb-workspaces, when it is imported

STUDY: dict[str, Any] = {
    "name": "small",
    "question": "Does a norm help a tiny network?",
    "base": {},
    "grid": {"model.norm": ["none", "layer"], "data.batch_size": [32, 64]},
    "seeds": 2,
    "skip": [{"when": {"model.norm": "none", "data.batch_size": 64}, "reason": "for the test"}],
    "compare": {"factor": "model.norm", "baseline": "none", "across": ["data.batch_size"]},
}
LABELS = np.arange(10)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A finished study, and its folder of runs."""
    folder = tmp_path_factory.mktemp("done")
    base: dict[str, dict[str, Any]] = {}
    for key, value in SMALL.items():
        section, name = key.split(".")
        if key not in STUDY["grid"]:
            base.setdefault(section, {})[name] = value
    path = folder / "small.yaml"
    path.write_text(yaml_text(STUDY | {"base": base}))
    store = Store(folder / "runs")
    for number, run in enumerate(make_plan(load_study(path)).runs):
        noise = 0.01 * (number * 7 % 5)  # seeds of a cell differ
        accuracy = 0.5 + noise + 0.2 * (run.config.model.norm == "layer")
        metrics = {"test_accuracy": accuracy, "test_nll": 1 - accuracy, "test_calibration_error": noise}
        metrics |= {"val_accuracy": accuracy, "val_nll": 1 - accuracy, "train_loss": 1 - accuracy}
        made_up(store, run.config, metrics=metrics, seconds=1 + noise, samples_per_second=256 / (1 + noise))
        said = LABELS.copy()
        said[3] *= run.config.model.norm == "layer"  # image 3 is what the other gets wrong
        write_predictions(store.folder(run.id).path, said, LABELS)
    return path, folder / "runs"


def blank_figures(evidence: Evidence, folder: Path) -> list[Path]:
    """A white pixel for two figures."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.png" for name in ("differences", "cost")]
    for path in paths:
        Image.new("L", (1, 1), 255).save(path)
    return paths


def sections_of_the_page() -> list[str]:
    """The headings of report.html, which the W&B report has too: all but that of filters, a run's media there."""
    template = (Path(normbench.__file__).parent / "report" / "page" / "page.html.jinja").read_text(encoding="utf-8")
    return [title for title in re.findall(r"<h2>(.*?)</h2>", template) if title != "Inside the networks"]


def headings(spec: dict[str, Any]) -> list[str]:
    """The headings of a report."""
    return [block["children"][0]["text"] for block in spec["blocks"] if block["type"] == "heading"]


def panels(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """The panels of a report."""
    grids = [block for block in spec["blocks"] if block["type"] == "panel-grid"]
    return [panel for grid in grids for panel in grid["metadata"]["panelBankSectionConfig"]["panels"]]


def test_the_specification_is_written_without_a_network(
    done: tuple[Path, Path], tmp_path: Path, run_cli: RunCli
) -> None:
    study, runs = done
    said = run_cli("wandb", "report", study, "--runs", runs, "--reports", tmp_path, "--dry-run", "--entity", "team")
    assert said.status == 0
    path = Path(said.out.strip())
    assert path == tmp_path / "small" / "wandb_report_spec.json"
    whole = json.loads(path.read_text())
    spec = whole["spec"]
    assert headings(spec) == ["Question", *sections_of_the_page()]
    media = [key for panel in panels(spec) for key in panel["config"].get("mediaKeys") or []]
    assert "| layer, batch_size 32 | 1: 3 (3) | 0 |" in path.read_text()
    assert {"media/misclassified", "media/confusion_matrix"} <= set(media)
    kinds = [panel["viewType"] for panel in panels(spec)]
    for kind in ("Run History Line Plot", "Bar Chart", "Scatter Plot", "Parallel Coordinates Plot", "Run Comparer"):
        assert kind in kinds, kinds
    assert "Media Browser" in kinds
    lines = [panel["config"] for panel in panels(spec) if panel["viewType"] == "Run History Line Plot"]
    assert {line["groupBy"] for line in lines} == {"model.value.norm"}
    chosen = [
        run_set["filters"] for block in spec["blocks"] for run_set in block.get("metadata", {}).get("runSets", [])
    ]
    assert chosen
    assert all("study:small" in json.dumps(filters) for filters in chosen)  # by tag: a run may be of several studies
    text = path.read_text()
    for part in ("Compared with none", "p (adjusted)", "for the test", "normbench run small", "Does a norm help"):
        assert part in text, part


def test_a_second_report_updates_the_first(
    fake: FakeWandb, done: tuple[Path, Path], tmp_path: Path, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, runs = done
    monkeypatch.setattr(publish, "write_figures", blank_figures)  # drawing them takes seconds, and is tested elsewhere
    command = ("wandb", "report", study, "--runs", runs, "--reports", tmp_path)
    first = run_cli(*command)
    assert first.status == 0, first.err
    assert first.out.strip().startswith(f"{fake.url}/team/normbench/reports/normbench")
    second = run_cli(*command)
    assert second.out == first.out
    (tmp_path / "small" / "wandb_report.json").unlink()  # another machine finds it by its title
    assert run_cli(*command).out == first.out
    assert len(fake.views) == 1
    view = next(iter(fake.views.values()))
    assert view["displayName"] == "normbench: small"
    assert "Compared with none" in view["spec"]
    shown = {key for panel in panels(json.loads(view["spec"])) for key in panel["config"].get("mediaKeys") or []}
    shown = {key for key in shown if not key.startswith("media/")}  # those are of the study's runs
    logged = {key for key in fake.runs["small-report"].rows[-1] if key.startswith("figures/")}
    assert shown == logged
    assert shown == {"figures/differences", "figures/cost"}
    for said in (first, second):
        assert KEY not in said.out + said.err


def test_without_a_key_it_says_so(done: tuple[Path, Path], tmp_path: Path, run_cli: RunCli) -> None:
    study, runs = done
    said = run_cli("wandb", "report", study, "--runs", runs, "--reports", tmp_path)
    assert said.status == 1
    assert "no API key" in said.error


def test_a_grouped_axis_is_grouped_by_its_labels(tmp_path: Path, run_cli: RunCli) -> None:
    """`2x16 real` sets several keys, none of which tells it from the others: its label does."""
    base: dict[str, dict[str, Any]] = {}
    for key, value in SMALL.items():
        section, name = key.split(".")
        if key not in ("model.norm", "data.batch_size"):
            base.setdefault(section, {})[name] = value
    base["model"]["norm"] = "batch"
    levels = {
        "1x32": {"data.batch_size": 32, "trainer.virtual_devices": 1},
        "2x16 virtual": {"data.batch_size": 32, "trainer.virtual_devices": 2},
    }
    grid = {"split of the batch": levels, "optimizer.lr": [0.05, 0.1]}
    compare = {"factor": "split of the batch", "baseline": "1x32", "across": ["optimizer.lr"]}
    study = STUDY | {"name": "grouped", "base": base, "grid": grid, "compare": compare, "skip": []}
    path = tmp_path / "grouped.yaml"
    path.write_text(yaml_text(study))
    store = Store(tmp_path / "runs")
    for run in make_plan(load_study(path)).runs:
        made_up(store, run.config)
    said = run_cli("wandb", "report", path, "--runs", store.root, "--reports", tmp_path, "--dry-run")
    assert said.status == 0, said.err
    spec = json.loads(Path(said.out.strip()).read_text())["spec"]
    lines = [panel["config"] for panel in panels(spec) if panel["viewType"] == "Run History Line Plot"]
    assert {line["groupBy"] for line in lines} == {"axes.value.grouped.split of the batch"}
