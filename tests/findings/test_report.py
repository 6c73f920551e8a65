"""The committed results: their table, their summary line, and one of them computed again."""

import math
import re
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from normbench.cli import findings
from normbench.errors import NormbenchError
from normbench.findings import Computation, Finding, all_findings, summary_line
from normbench.findings.report import COLUMNS, Row, rows_of, table, write_report
from normbench.findings.results import Result, read_result, write_result
from normbench.findings.summary import summary_svg
from tests.conftest import REPOSITORY, RunCli

REPORTS = REPOSITORY / "reports"
SLACK = 1e-9  # below it a difference is rounding, which differs between machines
TWICE = ("A7", "S14", "S18")  # computed again here; seconds together


@pytest.mark.parametrize("name", TWICE)
def test_a_committed_result_is_found_again(name: str) -> None:
    claim = all_findings()[name]
    assert isinstance(claim.experiment, Computation)
    stored, again = read_result(claim, REPORTS), claim.experiment.measure()
    assert stored is not None
    assert claim.verdict(again.quantities) == claim.verdict(stored.quantities)
    for key, found in again.quantities.items():
        assert found.value == pytest.approx(stored.quantities[key].value, rel=1e-4, abs=SLACK), key


@pytest.mark.slow
@pytest.mark.usefixtures("real_mnist")
def test_a_committed_result_of_tier_1_is_found_again() -> None:
    """Twenty-five short trainings, whose rounding differs between machines: the measured means stay."""
    claim = all_findings()["B10"]
    assert claim.tier == 1
    assert isinstance(claim.experiment, Computation)
    stored, again = read_result(claim, REPORTS), claim.experiment.measure()
    assert stored is not None
    assert claim.verdict(again.quantities) == claim.verdict(stored.quantities)
    for key, found in again.quantities.items():
        assert found.value == pytest.approx(stored.quantities[key].value, abs=0.01), key


def test_every_computation_has_a_committed_result() -> None:
    rows = rows_of(REPORTS)
    assert not [row.finding.id for row in rows if row.finding.tier == 0 and row.verdict == "not run"]
    assert sum(row.verdict != "not run" for row in rows) >= 30


def test_the_summary_line_counts_the_committed_table() -> None:
    frame = pd.read_csv(REPORTS / "findings" / "findings.csv", keep_default_na=False)
    assert tuple(frame.columns) == COLUMNS
    verdicts = frame.drop_duplicates("id")["verdict"].value_counts()
    words = [f"{verdicts.get(word, 0)} {word}" for word in ("reproduced", "contradicted", "open", "not run")]
    assert summary_line(REPORTS) == f"{frame['id'].nunique()} claims: {', '.join(words)}"


def test_the_committed_table_is_that_of_the_stored_results() -> None:
    from normbench.report.tables import csv_text

    written = (REPORTS / "findings" / "findings.csv").read_text(encoding="utf-8")
    assert written == csv_text(table(rows_of(REPORTS)))


def test_a_changed_criterion_makes_a_stored_result_stale(tmp_path: Path) -> None:
    claim = all_findings()["S3"]
    assert isinstance(claim.experiment, Computation)
    path = write_result(claim, claim.experiment.measure(), tmp_path)
    assert Row(claim, read_result(claim, tmp_path)).verdict == "reproduced"
    path.write_text(path.read_text().replace("between 759.5", "between 700"))
    assert Row(claim, read_result(claim, tmp_path)).verdict == "not run"


@pytest.mark.parametrize(
    "text", ["", '{"id": "S3", "crit', "[]", '{"criterion": [], "quantities": {"parameters": {}}}']
)
def test_a_result_that_was_cut_is_named_and_counts_as_not_run(tmp_path: Path, text: str) -> None:
    claim = all_findings()["S3"]
    assert isinstance(claim.experiment, Computation)
    path = write_result(claim, claim.experiment.measure(), tmp_path)
    path.write_text(text)
    with pytest.warns(UserWarning, match=rf"{path} is not a whole result: normbench findings run S3 makes it anew"):
        assert read_result(claim, tmp_path) is None
    write_result(claim, claim.experiment.measure(), tmp_path)
    assert read_result(claim, tmp_path) is not None


def test_runs_of_a_claim_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    from normbench.findings.figures import drawn_figures

    claim = next(finding for finding in all_findings().values() if finding.plot is not None)
    detail = tmp_path / "detail.csv"
    detail.touch()
    with pytest.raises(NormbenchError, match=rf"{detail} cannot be read .*: store it anew, normbench findings run"):
        drawn_figures(claim, Result({}, [], detail))


def test_a_number_without_an_interval_stays_without_one(tmp_path: Path) -> None:
    from normbench.findings import Outcome, Quantity

    claim = all_findings()["S3"]
    write_result(claim, Outcome({"parameters": Quantity(760.0, math.nan, math.nan, 3)}), tmp_path)
    stored = read_result(claim, tmp_path)
    assert stored is not None
    assert math.isnan(stored.quantities["parameters"].low)
    assert claim.verdict(stored.quantities) == "open"


def test_seeds_are_not_promised_where_there_is_no_interval(tmp_path: Path) -> None:
    from normbench.findings import Outcome, Quantity

    claim = all_findings()["A3"]
    write_result(claim, Outcome({"largest rate, batch over none": Quantity.exact(math.nan)}), tmp_path)
    row = Row(claim, read_result(claim, tmp_path))
    assert row.verdict_text == "open (a quantity has no interval)"
    assert row.measured == "largest rate, batch over none: none"


def test_the_report_has_a_page_for_each_claim(tmp_path: Path) -> None:
    shutil.copytree(REPORTS / "findings" / "results", tmp_path / "findings" / "results")
    names = {path.name for path in write_report(tmp_path)}
    assert names >= {"findings.csv", "findings.md", "index.html", *(f"{name}.html" for name in all_findings())}
    page = (tmp_path / "findings" / "C4.html").read_text(encoding="utf-8")
    assert 'src="figures/C4.svg"' in page
    assert (tmp_path / "findings" / "figures" / "C4.svg").is_file()


def test_the_commands(run_cli: RunCli, tmp_path: Path) -> None:
    options = ("--reports", tmp_path, "--runs", tmp_path / "runs")
    said = run_cli("findings", "run", "S3", "S4", *options)
    assert said.status == 0, said.err
    assert [line.split()[:2] for line in said.out.splitlines()] == [["S3", "reproduced:"], ["S4", "contradicted:"]]
    listed = run_cli("findings", "--tier", 0, *options)
    assert f"{len(all_findings())} claims: 1 reproduced, 1 contradicted" in listed.out
    assert run_cli("findings", "report", *options).status == 0
    assert "name claims" in run_cli("findings", "run", *options).error
    assert "did you mean" in run_cli("findings", "run", "A77", *options).error
    assert "30m" in run_cli("findings", "run", "--budget", "soon", *options).err


def test_a_claim_that_cannot_be_put_to_the_test_leaves_the_others(
    run_cli: RunCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = findings._outcome

    def broken(finding: Finding, *rest: Any) -> Any:
        if finding.id == "S3":
            raise NormbenchError("no folder")
        return outcome(finding, *rest)

    monkeypatch.setattr(findings, "_outcome", broken)
    said = run_cli("findings", "run", "S3", "S4", "--reports", tmp_path, "--runs", tmp_path / "runs")
    assert said.status == 1
    assert "normbench: error: S3: no folder" in said.err
    assert said.out.startswith("S4")


def test_a_budget_takes_the_cheapest_without_a_verdict(run_cli: RunCli, tmp_path: Path) -> None:
    options = ("--reports", tmp_path, "--runs", tmp_path / "runs", "--workers", 1)
    first = run_cli("findings", "run", "S1", "S2", "S3", "--budget", "2s", *options)
    assert [line.split()[0] for line in first.out.splitlines()] == ["S1", "S2"]
    second = run_cli("findings", "run", "S1", "S2", "S3", "--budget", "2s", *options)
    assert [line.split()[0] for line in second.out.splitlines()] == ["S3"]


@pytest.mark.parametrize("page", ["docs/findings.md", "README.md"])
def test_the_summary_line_in_a_page_is_the_committed_one(page: str) -> None:
    found = re.findall(r"\d+ claims: .* not run", (REPOSITORY / page).read_text(encoding="utf-8"))
    assert found == [summary_line(REPORTS)]


def told_by(svg: str) -> dict[str, str]:
    """The verdict of each tile of a figure, as its label says it."""
    return dict(re.findall(r'aria-label="([A-Z]+\d+): ([a-z ]+)"', svg))


def test_the_committed_figure_is_that_of_the_committed_table() -> None:
    assert "reports/findings/figures/summary.svg" in (REPOSITORY / "README.md").read_text(encoding="utf-8")
    frame = pd.read_csv(REPORTS / "findings" / "findings.csv", keep_default_na=False).drop_duplicates("id")
    drawn = (REPORTS / "findings" / "figures" / "summary.svg").read_text(encoding="utf-8")
    assert told_by(drawn) == dict(zip(frame["id"], frame["verdict"], strict=True))
    for verdict, count in frame["verdict"].value_counts().items():
        assert f">{verdict} ({count})<" in drawn


def test_the_figure_says_each_verdict_in_words_and_fits_a_phone() -> None:
    verdicts = {f"A{place}": "open" if place % 2 else "reproduced" for place in range(31)}
    svg = summary_svg(verdicts)
    assert told_by(svg) == verdicts
    assert ">reproduced (16)<" in svg
    assert ">open (15)<" in svg
    assert "contradicted" not in svg
    assert float(re.findall(r'<svg[^>]* width="([\d.]+)"', svg)[0]) <= 390
