"""Comparison tables: every number against scipy, every mark against the verdicts, every format against its reader."""

import html.parser
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from normbench.report.tables import (
    Cell,
    Grid,
    comparison_grid,
    html_table,
    latex,
    markdown,
    pairs_grid,
)
from normbench.report.tables.comparison import cell_text
from normbench.report.words import interval_text
from normbench.study.compare import Kind
from normbench.study.metrics import get_metric

from .conftest import NOISE, Lab, MakeLab, typical

ASKED = [
    "n",
    "mean",
    "sd",
    "ci_low",
    "ci_high",
    "method",
    "pairs",
    "diff",
    "low",
    "high",
    "p_adjusted",
    "verdict",
    "seeds_low",
    "seeds_high",
]
KEYS = ["batch_size", "norm", "metric"]


def comparison(lab: Lab) -> pd.DataFrame:
    """comparison.csv as written, by cell and metric."""
    return pd.read_csv(lab.report / "comparison.csv").set_index(KEYS)


def accuracies(lab: Lab) -> pd.DataFrame:
    """Test accuracies by cell and seed; a diverged run has none."""
    runs = pd.read_csv(lab.report / "results.csv")
    return runs.pivot_table(index="seed", columns=["batch_size", "norm"], values="test_accuracy")


def test_columns_come_in_the_order_asked_for(written: Lab) -> None:
    columns = pd.read_csv(written.report / "comparison.csv").columns
    assert list(columns[:3]) == KEYS
    assert [name for name in columns if name in ASKED] == ASKED


def test_one_row_a_cell_and_metric(written: Lab) -> None:
    frame = comparison(written)
    assert frame.index.is_unique
    assert len(frame) == 6 * frame.index.get_level_values("metric").nunique()


@pytest.mark.parametrize("cell", [(8, "none"), (8, "batch"), (32, "group")])
def test_means_and_intervals_are_those_of_scipy(written: Lab, cell: tuple[int, str]) -> None:
    row = comparison(written).loc[(*cell, "test_accuracy")]
    values = accuracies(written)[cell].to_numpy()
    assert (row["n"], row["method"], row["diverged"]) == (3, "Student t", 0)
    assert row["mean"] == pytest.approx(values.mean())
    assert row["sd"] == pytest.approx(values.std(ddof=1))
    low, high = stats.t.interval(0.95, 2, values.mean(), stats.sem(values))
    assert (row["ci_low"], row["ci_high"]) == pytest.approx((low, high))


def test_differences_and_their_simultaneous_intervals_are_those_of_scipy(make_lab: MakeLab) -> None:
    """At five seeds: the paired t interval at the level of the family, which the verdict is read off."""
    lab = make_lab(typical, seeds=5)
    lab.write("tables")
    frame, values = comparison(lab), accuracies(lab)
    for cell in [(size, norm) for size in (8, 32) for norm in ("none", "group")]:
        row = frame.loc[(*cell, "test_accuracy")]
        pair = values[[cell, (cell[0], "batch")]].dropna()
        test = stats.ttest_rel(pair[cell], pair[cell[0], "batch"])
        low, high = test.confidence_interval(1 - 0.05 / 4)
        assert row["diff"] == pytest.approx((pair[cell] - pair[cell[0], "batch"]).mean())
        assert (row["low"], row["high"]) == pytest.approx((low, high))
        assert row["p_adjusted"] == pytest.approx(min(1, 4 * test.pvalue))
        assert (row["pairs"], row["left_out"]) == (len(pair), 5 - len(pair))
        assert (row["family"], row["error"]) == (4, "paired")


def test_the_family_is_what_is_declared_less_what_is_skipped(make_lab: MakeLab) -> None:
    """A half-finished study has the family of the finished one; the number printed is the multiplier."""
    skip = [{"when": {"model.norm": "none", "data.batch_size": 32}, "reason": "too slow"}]
    evidence = make_lab(lambda c, s: 0.9 + NOISE[s] if c["data.batch_size"] == 8 else None, skip=skip).evidence()
    assert evidence.family == 3
    assert set(evidence.pairs["family"]) == {3}
    assert "family of 3 comparisons that the study declares, 2 rows with data here;" in pairs_grid(evidence).footnote
    assert "(family of 3, of which 2 have data;" in evidence.answer[1]


def test_a_diverged_run_has_no_value_and_is_shown(written: Lab) -> None:
    row = comparison(written).loc[(32, "none", "test_accuracy")]
    assert row["diverged"] == 1
    assert row["mean"] == pytest.approx((0.9002 + 0.9018) / 2)
    assert (row["verdict"], row["diverged_treatment"], row["runs_treatment"]) == ("worse", 1, 3)
    grid = comparison_grid(written.evidence())
    shown = dict(grid.rows)["none"][grid.columns.index("batch_size 32")].text
    assert shown.startswith("90.10 ±")
    assert shown.endswith("(1 of 3 diverged)")
    assert "Means are of the runs that did not diverge." in grid.footnote
    losses = comparison(written).loc[(32, "none", "test_nll")]
    assert (losses["n"], losses["diverged"]) == (3, 1)


def test_verdicts_are_read_off_the_interval(written: Lab) -> None:
    frame = comparison(written)
    told = frame[frame["verdict"].isin(["better", "worse"])]
    assert len(told)
    assert ((told["low"] > 0) | (told["high"] < 0)).all()
    rest = frame[frame["verdict"].isin(["open", "equivalent"])]
    assert ((rest["low"] <= 0) & (rest["high"] >= 0) | rest["low"].isna()).all()
    assert frame.loc[(8, "none", "test_accuracy"), "verdict"] == "worse"
    assert frame.loc[(8, "none", "test_nll"), "verdict"] == "worse"  # a higher loss is worse


@pytest.mark.parametrize("metric", ["seconds", "samples_per_second"])
def test_training_times_get_no_verdict(written: Lab, metric: str) -> None:
    rows = comparison(written).xs(metric, level="metric")
    assert set(rows["verdict"]) == {"not measured: runs share a machine"}
    assert rows[["mark", "diff", "low", "p"]].isna().all().all()
    grid = comparison_grid(written.evidence(), metric)
    assert not any(cell.mark for _, cells in grid.rows for cell in cells)
    assert "Not measured for a comparison: runs share a machine." in grid.footnote


def test_the_best_alone_is_bold_only_if_told_apart(make_lab: MakeLab) -> None:
    def outcome(cell: dict, seed: int) -> float:
        level, own = {"none": (0.90, 1), "batch": (0.97, 2), "group": (0.96, 3)}[cell["model.norm"]]
        if cell["data.batch_size"] == 32 and cell["model.norm"] == "group":
            level, own = 0.969, 30
        return level + NOISE[seed] + own * NOISE[-1 - seed] / 30

    evidence = make_lab(outcome, seeds=4).evidence()
    grid = comparison_grid(evidence)
    marks = {name: [cell.mark for cell in cells] for name, cells in grid.rows}
    assert marks == {"none": ["", ""], "batch": ["best", "tied"], "group": ["", "tied"]}
    text = markdown(grid)
    assert re.search(r"\| batch \| \*\*97\.\d\d ± 0\.\d\d\*\* \| 97\.\d\d ± 0\.\d\d † \|", text)
    assert r"\textbf{97." in latex(grid)
    assert html_table(grid, "x").count('class="best"') == 1


def test_footnotes_name_what_a_number_rests_on(written: Lab) -> None:
    evidence = written.evidence()
    note = comparison_grid(evidence).footnote
    for word in ("95 % interval", "Student t", "n = 3", "paired by seed", "3 pairs of its column", "simultaneous"):
        assert word in note
    note = pairs_grid(evidence).footnote
    for word in (
        "paired by seed",
        "family of 4 comparisons that the study declares;",
        "lies within 0.5 points",
        "80 % power",
        "Bonferroni",
    ):
        assert word in note
    assert "No exact (sign-flip or Wilcoxon) p is given: 3 pairs can give p >= 0.25 at best" in note
    assert "at least 8 seeds" in note


def test_numbers_that_say_nothing_are_words(make_lab: MakeLab) -> None:
    """One seed, no spread, a diverged side, more seeds than anybody trains: never a bare dash or a huge number."""
    lab = make_lab(lambda c, s: 0.9 + 0.3 * NOISE[s * (1 + (c["model.norm"] == "none"))] / 0.003, seeds=3)
    for evidence in (lab.evidence(), make_lab(lambda c, s: 0.9, seeds=1, name="lone").evidence()):
        grid = pairs_grid(evidence)
        for _, cells in grid.rows:
            for cell in cells:
                assert not re.search(r"\d{4,}|nan|inf|<NA>", cell.text.replace(",", "")) or "1,000" in cell.text
    texts = dict(pairs_grid(make_lab(lambda c, s: 0.9, seeds=1, name="one").evidence()).rows)
    row = dict(zip(grid.columns, texts["none, batch_size 8"], strict=True))
    assert row["95 % interval"].text == "none: one seed"
    assert row["seeds needed"].text == "unknown with one seed"


# Studies of other shapes.


def test_half_finished(make_lab: MakeLab) -> None:
    def outcome(cell: dict, seed: int) -> float | None:
        return 0.95 + NOISE[seed] if seed == 0 or (cell["model.norm"] != "group" and seed == 1) else None

    lab = make_lab(outcome)
    lab.write("tables")
    frame = comparison(lab)
    assert frame.loc[(8, "batch", "test_accuracy"), "n"] == 2
    row = frame.loc[(8, "group", "test_accuracy")]
    assert (row["n"], row["pairs"], row["left_out"]) == (1, 1, 1)
    assert pd.isna(row["ci_low"])
    assert (row["verdict"], row["reason"]) == ("open", "one seed")
    assert "n = 1 to 2" in comparison_grid(lab.evidence()).footnote


def test_a_cell_without_runs_says_so(make_lab: MakeLab) -> None:
    lab = make_lab(lambda cell, seed: None if cell == {"model.norm": "group", "data.batch_size": 32} else 0.9)
    grid = comparison_grid(lab.evidence())
    assert [cell.text for cell in dict(grid.rows)["group"]] == ["90.00", "not run"]


def test_without_the_baseline_there_are_means_and_no_comparison(make_lab: MakeLab) -> None:
    lab = make_lab(lambda cell, seed: 0.9 + NOISE[seed] if cell["model.norm"] != "batch" else None)
    lab.write()
    assert "No comparison with batch can be made yet: 12 runs done." in (lab.report / "comparison.md").read_text()
    cost = comparison(lab).index.get_level_values("metric").isin(["seconds", "samples_per_second"])
    assert comparison(lab)["verdict"][~cost].isna().all()


def test_no_run_at_all(make_lab: MakeLab) -> None:
    lab = make_lab(lambda cell, seed: None)
    paths = lab.write()
    assert {path.name for path in paths} == {
        "results.csv",
        "comparison.csv",
        "contrasts.csv",
        "pairs.csv",
        "comparison.md",
        "comparison.tex",
        "study.json",
        "report.html",
    }
    assert "0 runs done" in (lab.report / "comparison.md").read_text()
    assert list(pd.read_csv(lab.report / "comparison.csv").columns[3:6]) == ["n", "n_used", "mean"]


def test_without_other_axes(make_lab: MakeLab) -> None:
    lab = make_lab(lambda cell, seed: 0.9 + NOISE[seed], {"model.norm": ["none", "batch"]})
    lab.write()
    frame = pd.read_csv(lab.report / "comparison.csv")
    assert list(frame.columns[:3]) == ["norm", "metric", "n"]
    assert comparison_grid(lab.evidence()).columns == ["all runs"]
    assert (lab.report / "figures" / "test_error.svg").exists()


def test_two_other_axes(make_lab: MakeLab) -> None:
    grid = {"model.norm": ["none", "batch"], "model.dropout": [0.0, 0.5], "data.batch_size": [8, 32]}
    lab = make_lab(lambda cell, seed: 0.9 + NOISE[seed] + cell["model.dropout"] / 100, grid)
    lab.write("tables", "figures")
    frame = pd.read_csv(lab.report / "comparison.csv")
    assert list(frame.columns[:4]) == ["dropout", "batch_size", "norm", "metric"]
    table = comparison_grid(lab.evidence())
    assert [name for name, _ in table.rows] == [
        "none, dropout 0.0",
        "batch, dropout 0.0",
        "none, dropout 0.5",
        "batch, dropout 0.5",
    ]
    assert table.columns == ["batch_size 8", "batch_size 32"]


def test_a_tuned_axis_is_chosen_on_validation_and_reported_on_test(make_lab: MakeLab) -> None:
    """The validation accuracy of a fabricated run is its test accuracy - 0.01, so a flip is written for one norm."""
    grid = {"model.norm": ["none", "batch"], "optimizer.lr": [0.01, 0.1, 1.0]}
    best = {"none": 0.01, "batch": 0.1}

    def outcome(cell: dict, seed: int) -> float:
        return 0.9 + NOISE[seed] + (0.05 if cell["optimizer.lr"] == best[cell["model.norm"]] else 0)

    lab = make_lab(outcome, grid, {"tuned": "optimizer.lr"}, seeds=3)
    for run in lab.planned():  # on the test images another rate would have been better: it must not be chosen
        if run.cell == {"model.norm": "batch", "optimizer.lr": 1.0}:
            path = lab.runs / run.id / "result.json"
            path.write_text(path.read_text().replace('"test_accuracy": 0.', '"test_accuracy": 0.99'))
    lab.write("tables")
    frame = pd.read_csv(lab.report / "comparison.csv").set_index(["norm", "metric"])
    assert frame.loc[("batch", "test_accuracy"), "mean"] == pytest.approx(0.95 + np.mean(NOISE[:3]))
    assert frame.loc[("batch", "test_accuracy"), "n"] == 3
    assert frame["base_lr"].groupby("norm").unique().map(list).to_dict() == {"none": [0.01], "batch": [0.1]}
    text = (lab.report / "comparison.md").read_text()
    assert "### Chosen base_lr" in text
    assert re.search(r"\| none \| 0.01 \| 3 \| 3 \| 94.\d\d \| at the edge", text)
    assert re.search(r"\| batch \| 0.1 \| 3 \| 3 \| 94.\d\d \|  \|", text)


def test_a_grouped_axis_has_its_labels(make_lab: MakeLab) -> None:
    kinds = {
        "plain": {"model.norm": "none"},
        "group of 8": {"model.norm": "group", "model.norm_options": {"groups": 8}},
    }
    lab = make_lab(lambda cell, seed: 0.9 + NOISE[seed], {"kind": kinds}, {"factor": "kind", "baseline": "plain"})
    lab.write("tables")
    assert set(pd.read_csv(lab.report / "comparison.csv")["axis kind"]) == set(kinds)
    assert set(pd.read_csv(lab.report / "results.csv")["axis kind"]) == set(kinds)


def test_two_data_sets_never_share_a_cell(make_lab: MakeLab) -> None:
    lab = make_lab(lambda cell, seed: 0.97 + NOISE[seed])
    make_lab(lambda cell, seed: 0.90 + NOISE[seed] if seed < 2 else None, fallback=True)
    lab.write("tables")
    frame = pd.read_csv(lab.report / "comparison.csv")
    assert list(frame.columns[:3]) == ["dataset", "batch_size", "norm"]
    means = frame[frame["metric"] == "test_accuracy"].groupby("dataset")["mean"].agg(["min", "max", "size"])
    assert means.loc["mnist"].tolist() == pytest.approx([0.97 + np.mean(NOISE[:3])] * 2 + [6])
    assert means.loc["mnist_5k"].tolist() == pytest.approx([0.901] * 2 + [6])


def test_a_study_too_large_for_the_embedded_digits_has_a_report(make_lab: MakeLab) -> None:
    lab = make_lab(
        lambda cell, seed: 0.97 + NOISE[seed],
        base={"data": {"name": "mnist", "train_samples": 20_000}, "budget": {"samples": 640}},
    )
    assert len(lab.evidence().runs) == 18


# Formats.

HOSTILE = Grid(
    "50 % & more_or | less",
    ["a_b", "c|d", "<e>"],
    [("n_1 & {x} | ^~\\ $#", [Cell("1 ± 2", "best"), Cell("<script>", "tied"), Cell("—")])],
    "Note: 5 % & `code` *star* [a](b) <i>.",
    words=("<e>",),
)


def test_markdown_has_one_cell_a_column_and_no_markup_of_the_user() -> None:
    lines = [line for line in markdown(HOSTILE).splitlines() if line.startswith("|")]
    assert [len(re.findall(r"(?<!\\)\|", line)) for line in lines] == [5, 5, 5]
    text = markdown(HOSTILE)
    assert not re.search(r"(?<!\\)<(script|i|e)>", text)
    assert r"\`code\` \*star\* [a\](b)" in text
    assert "**1 ± 2**" in text
    assert lines[1] == "| --- | ---: | ---: | --- |"


def balanced(text: str) -> bool:
    """Whether every environment is closed in order, and every brace."""
    open_: list[str] = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", text):
        if kind == "begin":
            open_.append(name)
        elif not open_ or open_.pop() != name:
            return False
    plain = re.sub(r"\\[{}\\]", "", text)
    return not open_ and plain.count("{") == plain.count("}")


def unescaped(text: str) -> list[str]:
    """Signs in the rows and the caption that LaTeX would take for markup."""
    text = "\n".join(line for line in text.splitlines() if not line.startswith("% \\usepackage"))
    return re.findall(r"(?<!\\)[%#_]|(?<![\\ ])&|[<>](?!\$)|(?<!\\)\^(?!\\dagger)", text.replace(" & ", " "))


def test_latex_has_its_specials_escaped() -> None:
    text = latex(HOSTILE)
    assert balanced(text)
    assert unescaped(text) == []
    assert r"\begin{tabular}{lrrl}" in text
    row = next(line for line in text.splitlines() if line.startswith("n\\_1"))
    assert len(re.findall(r"(?<!\\)&", row)) == 3


def compile_latex(body: str, folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "paper.tex").write_text(
        "\\documentclass{article}\\usepackage{booktabs}\\begin{document}\n" + body + "\n\\end{document}\n"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("study", ["written", "nasty"])
def test_latex_of_a_study(study: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    lab: Lab = request.getfixturevalue(study)
    text = (lab.report / "comparison.tex").read_text()
    assert text.count(r"\begin{tabular}") >= 3
    assert balanced(text)
    assert unescaped(text) == []
    if shutil.which("pdflatex"):
        done = compile_latex(text, tmp_path)
        assert done.returncode == 0, done.stdout[-2000:]


class Tags(html.parser.HTMLParser):
    """Names of all elements, and the text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_html_shows_user_text_as_text() -> None:
    parser = Tags()
    parser.feed(html_table(HOSTILE, "x"))
    assert set(parser.tags) == {"div", "table", "caption", "span", "thead", "tbody", "tr", "th", "td", "p"}
    for text in (HOSTILE.title, *HOSTILE.columns, HOSTILE.rows[0][0], "<script> †", HOSTILE.footnote):
        assert text in parser.text


def test_markdown_of_a_nasty_study_keeps_its_columns(nasty: Lab) -> None:
    for table in (nasty.report / "comparison.md").read_text().split("### ")[1:]:
        rows = [line for line in table.splitlines() if line.startswith("|")]
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ({"mean": 0.98931, "ci_low": 0.98821, "ci_high": 0.99041, "method": "Student t"}, "98.93 ± 0.11"),
        ({"mean": 0.98931, "ci_low": 0.988, "ci_high": 0.9901, "method": "BCa bootstrap"}, "98.93 [98.80, 99.01]"),
        ({"mean": 0.98931, "ci_low": np.nan, "ci_high": np.nan, "method": "none (n=1)"}, "98.93"),
        ({"mean": np.nan, "ci_low": np.nan, "ci_high": np.nan, "method": "none (n=0)"}, "—"),
        ({"mean": 0.664, "ci_low": -0.43, "ci_high": 1.757, "method": "Student t"}, "66.40 ± over 100"),
    ],
)
def test_cell_text(row: dict, text: str) -> None:
    metric = get_metric("test_accuracy")
    assert cell_text({**row, "n": 3, "diverged": 0}, metric) == text
    assert cell_text({**row, "n": 3, "diverged": 2}, metric) == f"{text} (2 of 3 diverged)"


@pytest.mark.parametrize(
    ("metric", "kind", "low", "high", "text"),
    [
        ("test_accuracy", "levels", -0.012, 0.0345, "-1.20 to +3.45"),
        ("test_accuracy", "levels", -1.37, 1.38, "all of -100.00 to +100.00"),
        ("test_accuracy", "within", -4.1, 0.035, "under -100.00 to +3.50"),
        ("test_accuracy", "change", -1.37, 1.38, "-137.00 to +138.00"),
        ("test_accuracy", "change", -0.2, 2.1, "-20.00 to over +200.00"),
        ("test_nll", "levels", -1.37, 1.38, "-1.370 to +1.380"),
    ],
)
def test_an_interval_names_no_difference_that_cannot_be(
    metric: str, kind: Kind, low: float, high: float, text: str
) -> None:
    assert interval_text({"low": low, "high": high, "reason": ""}, get_metric(metric), kind) == text
