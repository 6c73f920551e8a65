"""The evidence of a study: a run that stands for two cells counts in both."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from normbench.errors import UsageError
from normbench.report.figures import drawn_figures
from normbench.report.provenance import code_notes, environments
from normbench.store.folder import RESULT
from normbench.study import load_study, make_plan

from .conftest import NOISE, MakeLab

NORMS = {"none": 0.90, "batch": 0.95, "group": 0.93}


def outcome(cell: Mapping[str, Any], seed: int) -> float:
    return NORMS[cell["model.norm"]] + NOISE[seed] + (0.01 if cell["rate"] == "shared" else 0.0)


def test_a_run_whose_own_rate_is_the_shared_one_is_trained_once_and_counts_twice(
    make_lab: MakeLab, tmp_path: Path
) -> None:
    (tmp_path / "rates.csv").write_text("model.norm,optimizer.lr\nnone,0.02\nbatch,0.1\ngroup,0.05\n")
    lab = make_lab(
        outcome,
        {
            "model.norm": list(NORMS),
            "rate": {"own": {"optimizer.lr": {"from": str(tmp_path / "rates.csv")}}, "shared": {"optimizer.lr": 0.02}},
        },
        {"factor": "model.norm", "baseline": "batch", "across": ["rate"], "margin": 0.005},
    )
    plan = make_plan(load_study(lab.study))
    assert len(plan.runs) == len(set(plan.ids)) == 15
    assert [(run.cell["model.norm"], run.cell["rate"]) for run in plan.twins] == [("none", "shared")] * 3
    evidence = lab.evidence()
    assert len(evidence.runs) == 18
    none = evidence.runs.query("norm == 'none' and rate == 'shared'")
    assert set(none["run_id"]) == {run.id for run in plan.twins}
    table = evidence.comparison.query("metric == 'test_accuracy' and norm != 'batch'")
    assert len(table) == 4
    assert set(table["family"]) == {4}
    paths = lab.write()
    assert "15 of 15 done" in (lab.report / "report.html").read_text()
    assert any(path.name == "results.csv" for path in paths)
    assert {len((lab.report / "results.csv").read_text().splitlines())} == {19}


def test_a_norm_of_each_image_is_trained_once_for_all_virtual_devices(make_lab: MakeLab) -> None:
    layouts = {f"{n}x{32 // n}": {"trainer.virtual_devices": n} for n in (4, 1, 2)}
    norms = {"none": 0.90, "batch": 0.95, "sync_batch": 0.94, "layer": 0.93}
    noise = {"none": 0.0, "batch": 0.0011, "sync_batch": 0.0007, "layer": 0.0005}

    def outcome(cell: Mapping[str, Any], seed: int) -> float:
        lost = 0.01 * layouts[cell["layout"]]["trainer.virtual_devices"] if cell["model.norm"] == "batch" else 0.0
        return norms[cell["model.norm"]] + NOISE[seed] + noise[cell["model.norm"]] * (seed % 2) - lost

    grid = {"model.norm": list(norms), "layout": layouts}
    lab = make_lab(outcome, grid, {"factor": "model.norm", "baseline": "batch", "across": ["layout"]})
    plan = make_plan(load_study(lab.study))
    assert len(plan.runs) == 3 * (3 + 1 + 1 + 1)
    shared = lab.runs / next(run.id for run in plan.twins) / RESULT
    shared.write_text(shared.read_text().replace('"torch": "2.6.0"', '"torch": "2.7.0"'))
    assert {run.config.trainer.virtual_devices for run in plan.runs if run.cell["model.norm"] != "batch"} == {1}
    assert len(plan.twins) == 3 * 2 * 3
    evidence = lab.evidence()
    assert len(evidence.runs) == 36
    assert evidence.runs.groupby("norm")["run_id"].nunique().to_dict() == {
        "batch": 9,
        "layer": 3,
        "none": 3,
        "sync_batch": 3,
    }
    assert evidence.family == 9
    assert set(evidence.pairs["pairs"]) == {3}
    # In three cells, and one run all the same.
    assert dict(environments(evidence))["torch"] == "2.6.0 (17 runs); 2.7.0 (1 run)"
    (note,) = code_notes(evidence.runs.assign(commit="c0ffee+"))
    assert note.startswith("18 runs come from uncommitted changes")
    (figure,) = (found for name, found in drawn_figures(evidence).items() if name.endswith("images_per_statistic"))
    assert figure.data["axis norm" if "axis norm" in figure.data else "norm"].value_counts().to_dict() == {
        "batch": 3,
        "layer": 1,
        "none": 1,
        "sync_batch": 1,
    }


def test_what_is_the_same_run_for_another_reason_is_still_refused(make_lab: MakeLab) -> None:
    places = {"a": {"data.dir": "/a"}, "b": {"data.dir": "/b"}}
    with pytest.raises(UsageError, match="are the same run: leave one out"):
        make_lab(lambda cell, seed: 0.9, {"model.norm": list(NORMS), "place": places})
    one = {"plain": {"trainer.accumulate_grad_batches": 1}, "one": {"trainer.virtual_devices": 1}}
    with pytest.raises(UsageError, match="are the same run: leave one out"):
        make_lab(lambda cell, seed: 0.9, {"model.norm": ["batch", "sync_batch"], "layout": one})
