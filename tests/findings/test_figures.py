"""The figure of a claim's study: which runs are stored for it, and what is drawn of them."""

import re
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from normbench.errors import NormbenchError
from normbench.findings import Finding, Outcome, StudyExperiment, all_findings
from normbench.findings.evidence import compared_runs
from normbench.findings.figures import drawn_figures, stored_evidence
from normbench.findings.report import write_report
from normbench.findings.results import read_result, write_result
from normbench.findings.studies import study_path
from normbench.report import Evidence
from normbench.spec.document import read_yaml
from normbench.store import Store
from normbench.study import Study, load_study
from tests.conftest import REPOSITORY
from tests.findings.test_studies import evidence_of

REPORTS = REPOSITORY / "reports"
RESULTS = REPORTS / "findings" / "results"


def study_of(claim: Finding) -> Study:
    assert isinstance(claim.experiment, StudyExperiment)
    return load_study(study_path(claim.experiment.study))


def varies(claim: Finding) -> bool:
    """Whether the study compares along an axis: read off its file, since a study that is loaded loads its plug-ins."""
    assert isinstance(claim.experiment, StudyExperiment)
    compared = read_yaml(study_path(claim.experiment.study), "study")["compare"]
    first = compared[0] if isinstance(compared, list) else compared
    return bool(first.get("across"))


TRAINED = [claim for claim in all_findings().values() if isinstance(claim.experiment, StudyExperiment)]
CURVES = [claim for claim in TRAINED if not claim.plot and varies(claim)]
COMMITTED = [claim for claim in CURVES if (RESULTS / f"{claim.id}.csv").is_file()]


def stored(claim: Finding, evidence: Evidence, reports: Path) -> Path:
    """The file of its runs."""
    assert isinstance(claim.experiment, StudyExperiment)
    outcome = Outcome(claim.experiment.measure(evidence), compared_runs(evidence))
    return write_result(claim, outcome, reports).with_suffix(".csv")


def test_there_are_curves() -> None:
    assert {"A1", "B1"} <= {claim.id for claim in COMMITTED}
    assert {"A4", "B5", "B8", "C5", "D7"} <= {claim.id for claim in CURVES}


@pytest.mark.parametrize("claim", CURVES, ids=lambda claim: claim.id)
def test_stored_runs_give_the_same_quantities(claim: Finding, tmp_path: Path) -> None:
    evidence = evidence_of(claim, Store(tmp_path))
    again = stored_evidence(claim, study_of(claim), stored(claim, evidence, tmp_path))
    assert len(again.chosen) == len(evidence.chosen)
    assert isinstance(claim.experiment, StudyExperiment)
    quantities = claim.experiment.measure(again)
    for name, found in claim.experiment.measure(evidence).items():
        assert quantities[name].value == pytest.approx(found.value, abs=1e-5, nan_ok=True), name
        assert quantities[name].low == pytest.approx(found.low, abs=1e-5, nan_ok=True), name


@pytest.mark.parametrize("claim", COMMITTED, ids=lambda claim: claim.id)
def test_committed_runs_give_the_committed_quantities(claim: Finding) -> None:
    result = read_result(claim, REPORTS)
    assert result is not None
    assert result.detail is not None
    assert isinstance(claim.experiment, StudyExperiment)
    quantities = claim.experiment.measure(stored_evidence(claim, study_of(claim), result.detail))
    for name, found in result.quantities.items():
        assert quantities[name].value == pytest.approx(found.value, rel=1e-5, nan_ok=True), name
        assert quantities[name].low == pytest.approx(found.low, rel=1e-5, nan_ok=True), name


def points(svg: str) -> list[str]:
    """Colours of the faint points, one a run."""
    return re.findall(r'<path aria-label="[^"]*"[^>]*fill="(#[0-9A-Fa-f]{6})"[^>]*opacity="0.5"', svg)


def test_the_curve_has_a_line_an_arm_in_its_colour_and_a_point_a_run() -> None:
    claim = all_findings()["B1"]
    result = read_result(claim, REPORTS)
    assert result is not None
    published, measured = drawn_figures(claim, result)
    colours = {"#0072B2": 20, "#009E73": 20, "#E69F00": 20}  # batch, group, layer: four batch sizes, five seeds
    found = points(measured.svg)
    assert {colour: found.count(colour) for colour in set(found)} == colours
    for colour in colours:
        assert len(re.findall(f'<path [^>]*stroke="{colour}"[^>]*stroke-width="1.5"', measured.svg)) == 1
    assert "batch size (images), log scale" in measured.svg
    assert published.svg.count('stroke-dasharray="6,4"') == 2
    assert "ResNet-50 on ImageNet" in published.svg
    assert measured.data == "results/B1.csv"


def test_the_page_shows_both_and_names_the_runs(tmp_path: Path) -> None:
    """From what is stored alone: there are no run folders here."""
    claim = all_findings()["B1"]
    stored(claim, evidence_of(claim, Store(tmp_path / "runs")), tmp_path)
    write_report(tmp_path)
    folder = tmp_path / "findings"
    page = unescape((folder / "B1.html").read_text(encoding="utf-8"))
    for name in ("figures/B1_published.svg", "figures/B1.svg", "results/B1.csv"):
        assert f'"{name}"' in page
        assert (folder / name).is_file()
    assert 'alt="Test error (%) of every norm against batch size."' in page


@pytest.mark.parametrize(
    ("name", "words"), [("C5", "optimizer.lr that validates best"), ("B8", "its own 95 % interval")]
)
def test_a_curve_at_chosen_rates_or_of_two_evaluations(name: str, words: str, tmp_path: Path) -> None:
    claim = all_findings()[name]
    stored(claim, evidence_of(claim, Store(tmp_path)), tmp_path)
    result = read_result(claim, tmp_path)
    assert result is not None
    (figure,) = drawn_figures(claim, result)
    assert words in figure.caption
    assert ("precise statistics" in figure.svg) == (name == "B8")


def test_a_diverged_run_is_no_point(tmp_path: Path) -> None:
    claim = all_findings()["B1"]
    evidence = evidence_of(claim, Store(tmp_path))
    gone = (evidence.runs["norm"] == "layer") & (evidence.runs["seed"] == 0)
    evidence.runs["diverged_at_step"] = np.where(gone, 7.0, np.nan)
    frame = pd.read_csv(stored(claim, evidence, tmp_path))
    assert frame["test_accuracy"].isna().sum() == 4
    result = read_result(claim, tmp_path)
    assert result is not None
    assert points(drawn_figures(claim, result)[-1].svg).count("#E69F00") == 16


def test_a_study_without_another_axis_has_no_curve(tmp_path: Path) -> None:
    assert compared_runs(evidence_of(all_findings()["E1"], Store(tmp_path))) is None


def test_stored_runs_that_the_study_no_longer_has_are_named(tmp_path: Path) -> None:
    claim = all_findings()["B1"]
    path = stored(claim, evidence_of(claim, Store(tmp_path)), tmp_path)
    path.write_text(path.read_text().replace("group,32,", "group,64,"))
    with pytest.raises(NormbenchError, match=r"no such run any more: .*findings run B1"):
        stored_evidence(claim, study_of(claim), path)


@pytest.mark.parametrize(
    "claim", [c for c in TRAINED if any(p.curves for p in c.published)], ids=lambda claim: claim.id
)
def test_published_curves_are_of_the_studys_arms_and_of_the_published_numbers(claim: Finding) -> None:
    compare = study_of(claim).compare
    labels: list[Any] = [level.label for level in study_of(claim).axes[compare.factor]]
    for published in claim.published:
        assert set(published.curves) <= set(labels)
        for number in (value for curve in published.curves.values() for value in curve.values()):
            as_accuracy = f"{1 - number / 100:.4f}".strip("0")
            assert (
                f"{number:g}" in published.value or f"{number:.1f}" in published.value or as_accuracy in published.value
            )
        assert bool(published.curves) == bool(published.unit) == bool(published.setting)
