"""The studies of claims that need training: where they are, what is left to do, and how long it takes."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from normbench.findings.finding import Computation, Finding, StudyExperiment

if TYPE_CHECKING:
    from normbench.store import Store


def study_path(name: str) -> Path:
    """The file of a study that a finding names."""
    return Path(str(files("normbench") / "findings" / "studies" / f"{name}.yaml"))


def seconds_left(finding: Finding, store: Store) -> float:
    """Roughly the seconds of work on one core that a finding still takes."""
    from normbench.study import estimate, load_study, make_plan

    if isinstance(finding.experiment, Computation):
        return finding.experiment.seconds
    assert isinstance(finding.experiment, StudyExperiment)
    plan = make_plan(load_study(study_path(finding.experiment.study)))
    done = store.finished(plan.ids)
    return sum(estimate(run.config) for run in plan.runs if run.id not in done)
