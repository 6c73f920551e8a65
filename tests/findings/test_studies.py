"""The studies of claims: they can be planned, and give the quantities that the criterion names."""

from html import unescape
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from normbench.errors import NormbenchError
from normbench.findings import Finding, Outcome, StudyExperiment, all_findings
from normbench.findings.benefits import spared
from normbench.findings.claims.p2 import ratio
from normbench.findings.evidence import contrast, study_outcome
from normbench.findings.report import Row, write_report
from normbench.findings.results import read_result, write_result
from normbench.findings.studies import study_path
from normbench.report import Evidence
from normbench.store import Store
from normbench.study import load_study, make_plan
from tests.conftest import RunCli

TRAINED = [claim for claim in all_findings().values() if isinstance(claim.experiment, StudyExperiment)]


def evidence_of(claim: Finding, store: Store, accuracy: float = 0.95) -> Evidence:
    """Evidence with a made-up result for every planned run."""
    assert isinstance(claim.experiment, StudyExperiment)
    plan = make_plan(load_study(study_path(claim.experiment.study)))
    empty = Evidence(plan, pd.DataFrame(), store, [])
    random = np.random.default_rng(0)
    rows = []
    for run in plan.runs:
        names = ["test_accuracy", "val_accuracy", "train_loss"]
        names += ["test_accuracy_precise"] if run.config.trainer.precise_statistics else []
        names += [f"test_accuracy_{text.partition('=')[0]}" for text in run.config.trainer.corruptions]
        values = accuracy + 0.001 * random.standard_normal(len(names))
        rows.append(
            {empty.columns[axis]: label for axis, label in run.cell.items()}
            | {"seed": run.seed, "run_id": run.id, "diverged_at_step": None}
            | dict(zip(names, values, strict=True))
        )
    return Evidence(plan, pd.DataFrame(rows), store, [])


@pytest.mark.parametrize("claim", TRAINED, ids=lambda claim: claim.id)
def test_a_study_gives_the_quantities_of_its_criterion(claim: Finding, tmp_path) -> None:
    assert isinstance(claim.experiment, StudyExperiment)
    found = claim.experiment.measure(evidence_of(claim, Store(tmp_path)))
    assert {bound.quantity for bound in claim.criterion} <= found.keys()
    assert claim.verdict(found) in ("reproduced", "contradicted", "open")


@pytest.mark.parametrize("name", sorted({claim.experiment.study for claim in TRAINED}))
def test_a_study_says_its_momentum(name: str) -> None:
    """Sources that train by plain SGD were repeated with its default of 0.9, by studies that said it had none."""
    path = study_path(name)
    if load_study(path).base.optimizer.name == "sgd":
        assert "momentum: 0." in path.read_text(encoding="utf-8")


def test_a_study_whose_runs_are_missing_has_no_outcome(tmp_path) -> None:
    with pytest.raises(NormbenchError, match="60 runs of its study have no result"):
        study_outcome(all_findings()["B8"], Store(tmp_path))


def test_a_diverged_run_leaves_no_interval(tmp_path) -> None:
    evidence = evidence_of(all_findings()["E1"], Store(tmp_path))
    whole = contrast(evidence, "levels", "layer")
    assert whole.low < whole.value < whole.high
    runs = evidence.runs.copy()
    hit = (runs["norm"] == "layer") & (runs["seed"] == 0)
    runs.loc[hit, ["test_accuracy", "diverged_at_step"]] = [np.nan, 7]
    found = contrast(Evidence(evidence.plan, runs, evidence.store, []), "levels", "layer")
    assert np.isnan(found.low)
    assert found.n == 4


BENEFITS = ("P1", "P2", "P3", "P4")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "count"), [("P1", 12), ("P4", 9)])
def test_the_networks_of_the_promised_benefits_train(name: str, count: int, run_cli: RunCli, tmp_path: Path) -> None:
    """One step of each network under each norm, one rate and initialisation: what planning alone does not build."""
    experiment = all_findings()[name].experiment
    assert isinstance(experiment, StudyExperiment)
    study = load_study(study_path(experiment.study))
    only = {"optimizer.lr": "0.01", "init": "he"}
    words = [word for axis, label in only.items() if axis in study.axes for word in ("--only", f"{axis}={label}")]
    words += ["--set", "budget.steps=1", "--set", "data.name=mnist_5k", "--seeds", "1", "--workers", "1"]
    said = run_cli("run", study.path, *words, "--runs", tmp_path)
    assert said.status == 0, said.err
    assert f"{count} of {count} runs to train" in said.err


@pytest.mark.parametrize("name", BENEFITS)
def test_the_page_of_a_promised_benefit_tells_where_it_holds(name: str, tmp_path: Path) -> None:
    """With results that differ by noise alone no network shows a benefit."""
    claim = all_findings()[name]
    experiment = claim.experiment
    assert isinstance(experiment, StudyExperiment)
    assert experiment.detail is not None
    evidence = evidence_of(claim, Store(tmp_path / "runs"))
    write_result(claim, Outcome(experiment.measure(evidence), experiment.detail(evidence)), tmp_path)
    places = Row(claim, read_result(claim, tmp_path)).places
    assert sum(map(len, places.values())) == len(claim.criterion)
    assert "holds" not in places
    write_report(tmp_path)
    page = unescape((tmp_path / "findings" / f"{name}.html").read_text(encoding="utf-8"))
    for bound in claim.criterion:
        assert bound.place in page
    drawn = (tmp_path / "findings" / "figures" / f"{name}.svg").read_text(encoding="utf-8")
    for network in ("digit CNN", "plain CNN", "strided CNN"):
        assert network in drawn


def test_a_diverged_run_counts_as_guessing_where_a_claim_says_so(tmp_path: Path) -> None:
    evidence = evidence_of(all_findings()["P3"], Store(tmp_path))
    gone = (evidence.runs["norm"] == "none") & (evidence.runs[evidence.columns["init"]] == "large")
    evidence.runs.loc[gone, ["test_accuracy", "diverged_at_step"]] = [np.nan, 7]
    start, stop = ({"network": "digit CNN", "init": init} for init in ("he", "large"))
    assert spared(evidence, start, stop).value == pytest.approx(0.95 - 0.1, abs=0.01)


@pytest.mark.parametrize(
    ("batch", "none", "expected"),
    [(0.3, 0.1, 3.0), (0.1, 0.1, 1.0), (0.1, np.nan, 10.0), (np.nan, 0.1, 0.1), (np.nan, np.nan, np.nan)],
)
def test_an_arm_that_trains_at_no_rate_counts_as_a_step_below_the_grid(batch, none, expected) -> None:
    assert ratio(batch, none, [0.1, 1.0]) == pytest.approx(expected, nan_ok=True)
