"""The evidence of a study: a run that stands for two cells counts in both."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
