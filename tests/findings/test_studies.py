"""The studies of claims: they can be planned, and give the quantities that the criterion names."""

import numpy as np
import pandas as pd
import pytest

from normbench.errors import NormbenchError
from normbench.findings import Finding, StudyExperiment, all_findings
from normbench.findings.evidence import contrast, study_outcome
from normbench.findings.studies import study_path
from normbench.report import Evidence
from normbench.store import Store
from normbench.study import load_study, make_plan

TRAINED = [claim for claim in all_findings().values() if isinstance(claim.experiment, StudyExperiment)]


def evidence_of(claim: Finding, store: Store, accuracy: float = 0.95) -> Evidence:
    """Evidence with a made-up result for every planned run."""
    assert isinstance(claim.experiment, StudyExperiment)
    plan = make_plan(load_study(study_path(claim.experiment.study)))
    empty = Evidence(plan, pd.DataFrame(), store, [])
    random = np.random.default_rng(0)
    rows = []
    for run in plan.runs:
        names = ["test_accuracy", "test_accuracy_precise", "val_accuracy"]
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
