"""What README.md and docs/ say was measured follows from the committed tables, number by number.

A paragraph that has a measured number (`1.7 points`, `62.0 %`) links the report that it is of. Its decimal numbers, in
their order, are those that RESULTS works out from the report's CSV files; a paragraph may leave some out.
"""

import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pandas as pd
import pytest

from normbench.stats import chosen_values, mean_interval
from tests.conftest import REPOSITORY

PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
MEASURED = re.compile(r"\d\.\d+ (?:points|%)")
DECIMAL = re.compile(r"(?<![\w.])[+-]?\d+\.\d+(?![\w.]*\d)")
OWN_RATE = "each at its own rate"
COUNTED = {"none": 0, "three": 3, "five": 5, "six": 6, "seven": 7, "eight": 8, "twelve": 12, "four": 4}


@cache
def table(study: str, name: str) -> pd.DataFrame:
    return pd.read_csv(REPOSITORY / "reports" / study / f"{name}.csv")


def setting(study: str, key: str) -> float:
    """What all runs of a study share."""
    tree = json.loads((REPOSITORY / "reports" / study / "study.json").read_text(encoding="utf-8"))
    return float(tree["configuration"][key])


def row(study: str, contrast: str, text: str, verdict: str) -> pd.Series:
    """The row of a contrast with this text; the verdict that the sentence speaks of is its own."""
    rows = table(study, "contrasts")
    rows = rows[(rows["contrast"] == contrast) & (rows["row"].fillna("") == text)]
    assert rows["verdict"].tolist() == [verdict], f"{study}: {contrast}, {text}"
    return rows.iloc[0]


def points(found: pd.Series, sign: int = 1) -> list[float]:
    """Difference and interval in points; a sentence that says "worse by" turns them round."""
    return [100 * sign * found["diff"], *sorted(100 * sign * found[end] for end in ("low", "high"))]


def gain(study: str, **cell: object) -> list[float]:
    """What recomputed statistics change, in points: mean and 95 % interval over the seeds of a cell."""
    runs = table(study, "results")
    for column, label in cell.items():
        runs = runs[runs[column] == label]
    found = 100 * (runs["test_accuracy_precise"] - runs["test_accuracy"]).to_numpy()
    low, high, _ = mean_interval(found)
    return [float(found.mean()), low, high]


def accuracy(study: str, **cell: object) -> float:
    """Mean test accuracy of a cell in per cent."""
    rows = table(study, "comparison")
    for column, label in {**cell, "metric": "test_accuracy"}.items():
        rows = rows[rows[column] == label]
    (value,) = rows["mean"]
    return 100 * float(value)


def batch_size() -> list[float]:
    place = "network strided CNN, batch_size 2"
    layer, group, none = (row("batch_size", OWN_RATE, f"{n}, {place}", "better") for n in ("layer", "group", "none"))
    within = row("batch_size", "small batches in batch norm", "batch_size 2, network digit CNN", "better")
    cell = {"network": "strided CNN", "batch_size": 2, "norm": "batch"}
    rest = [100 * group["diff"], 100 * none["diff"], accuracy("batch_size", **cell), *gain("batch_size", **cell)]
    return [*points(layer), *rest, *points(within)]


def devices() -> list[float]:
    name = "dividing the batch of batch norm"
    eight, sixteen = (row("devices", name, f"layout {text}, model digit_cnn", "worse") for text in ("8x4", "16x2"))
    row("devices", name, "layout 2x16, model digit_cnn", "equivalent")
    row("devices", name, "layout 4x8, model digit_cnn", "open")
    lost = points(sixteen, -1)
    margin = 100 * sixteen["margin"]
    back = gain("devices", model="digit_cnn", layout="16x2", norm="batch")
    rate, momentum = (setting("devices", f"optimizer.{key}") for key in ("lr", "momentum"))
    return [rate, momentum, *points(eight, -1), *lost, margin, back[0], lost[0], *back[1:]]


def colour() -> list[float]:
    eight = [
        row("colour", "levels", f"{norm}, batch_size 8", "worse") for norm in ("none", "layer", "instance", "group")
    ]
    least = min(-100 * found["high"] for found in eight)
    return [*(-100 * found["diff"] for found in eight), least]


def initialisation() -> list[float]:
    small = [row("initialisation", "levels", f"{norm}, init small", "better") for norm in ("batch", "layer", "group")]
    assert all(100 * found["low"] > 0.2 for found in small)
    return [*(100 * found["diff"] for found in small), 0.2]


def founding_text() -> list[float]:
    both = [accuracy("founding_text", model=model) for model in ("digit_cnn", "digit_cnn_bn")]
    return [*both, *points(row("founding_text", "levels", "digit_cnn_bn", "open"))]


def init_or_pixels() -> list[float]:
    def level(init: str, pixels: str, verdict: str) -> list[float]:
        return points(row("init_or_pixels", "levels", f"batch, init {init}, pixels {pixels}", verdict))

    found = [level(init, "standardised", "better") for init in ("torch", "he")]
    both = [level(init, "0 to 1", "open")[:1] for init in ("torch", "he")]
    changes = [
        points(row("init_or_pixels", "pixels", f"batch, to pixels 0 to 1, init {init}", "worse"))
        for init in ("torch", "he")
    ]
    for pixels in ("0 to 1", "standardised"):
        row("init_or_pixels", "initialisation", f"batch, to init he, pixels {pixels}", "open")
    return [value for part in (*found, *both, *changes) for value in part]


def second_machine() -> list[float]:
    """Median and largest change of a cell's mean accuracy in points; no verdict is another one."""
    first, second = (table(name, "comparison") for name in ("batch_size", "batch_size_second_machine"))
    keys = ["norm", "network", "batch_size"]
    means = [
        one[one["metric"] == "test_accuracy"].drop_duplicates(keys).set_index(keys)["mean"] for one in (first, second)
    ]
    moved = 100 * (means[1] - means[0]).abs()
    return [float(moved.median()), float(moved.max())]


RESULTS: dict[str, Callable[[], list[float]]] = {
    "batch_size": batch_size,
    "batch_size_second_machine": second_machine,
    "devices": devices,
    "colour": colour,
    "initialisation": initialisation,
    "founding_text": founding_text,
    "init_or_pixels": init_or_pixels,
}


def paragraphs(page: Path) -> Iterator[str]:
    """The paragraphs and list items of a page in one line each, without code and tables."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for part in re.split(r"\n\s*\n|\n(?=- )", text):
        if not part.startswith("|"):
            yield " ".join(part.split())


def sentences() -> list[tuple[str, str]]:
    """(study, paragraph) of every paragraph that links a report and has a measured number."""
    texts = [text for page in PAGES for text in paragraphs(page) if MEASURED.search(text)]
    # Of two reports that a paragraph compares, the second has the numbers.
    return [(found[-1], text) for text in texts if (found := re.findall(r"reports/(\w+)/comparison\.md", text))]


SENTENCES = sentences()


def told(text: str, expected: list[float]) -> str:
    """The first decimal number of a text that is not one of the expected ones in their order; "" where all are."""
    left = iter(expected)
    for number in DECIMAL.findall(text):
        digits = len(number.partition(".")[2])
        if not any(f"{value:.{digits}f}" == f"{float(number):.{digits}f}" for value in left):
            return str(number)
    return ""


@pytest.mark.parametrize(("study", "text"), SENTENCES, ids=[study for study, _ in SENTENCES])
def test_the_numbers_of_a_sentence_are_those_of_the_committed_tables(study: str, text: str) -> None:
    assert told(text, RESULTS[study]()) == "", text


def test_the_check_sees_a_wrong_number() -> None:
    expected = [34.93, 11.34, 58.52]
    assert told("by 34.9 points (11.3 to 58.5)", expected) == ""
    assert told("(11.3 to 58.5)", expected) == ""
    assert told("by 34.8 points (11.3 to 58.5)", expected) == "34.8"
    assert told("by 34.9 points (58.5 to 11.3)", expected) == "11.3"
    assert told("by -34.9 points", expected) == "-34.9"


def test_the_headline_is_measured_and_every_measured_number_has_its_report() -> None:
    assert "batch_size" in {study for study, text in SENTENCES if "strided" in text}
    for page in PAGES:
        for text in paragraphs(page):
            assert not MEASURED.search(text) or "/comparison.md" in text, f"{page.name}: {text}"


def families(study: str) -> tuple[int, ...]:
    rows = table(study, "contrasts").drop_duplicates("family_name")
    return tuple(int(size) for size in rows["family"])


def initialisation_at_the_edge() -> tuple[int, ...]:
    """Cells, and those in which the smallest or the largest rate was chosen."""
    chosen = chosen_values(table("initialisation", "results"), "base_lr", ["init", "norm"], "val_accuracy")
    return len(chosen), int(chosen["at_edge"].sum())


def open_rows(study: str, contrast: str, containing: str = "") -> int:
    rows = table(study, "contrasts")
    rows = rows[(rows["contrast"] == contrast) & rows["row"].str.contains(containing, regex=False)]
    return int((rows["verdict"] == "open").sum())


def on_both_machines() -> tuple[int, ...]:
    """Verdicts that are the same on both machines, and cells."""
    first, second = (table(name, "contrasts") for name in ("batch_size", "batch_size_second_machine"))
    same = first.merge(second, on=["kind", "row", "verdict"])
    cells = table("batch_size", "comparison")[["norm", "network", "batch_size"]].drop_duplicates()
    assert len(same) == len(first) == len(second)
    return len(same), len(cells)


COUNTS: list[tuple[str, str, Callable[[], tuple[int, ...]]]] = [
    (
        "batch_size",
        r"other (\S+) comparisons with batch norm",
        lambda: (open_rows("batch_size", OWN_RATE),),
    ),
    ("batch_size", r"the (\S+) at one shared rate", lambda: (open_rows("batch_size", "at one shared rate"),)),
    ("batch_size", r"families of (\S+) and (\d+)", lambda: families("batch_size")),
    ("batch_size", r"at (\S+) images", lambda: (int(setting("batch_size", "budget.samples")),)),
    ("batch_size", r"open with (\S+) seeds", lambda: (table("batch_size", "results")["seed"].nunique(),)),
    ("batch_size_second_machine", r"all (\S+) verdicts are the same.* its (\S+) cells", on_both_machines),
    ("colour", r"all (\S+) comparisons are open", lambda: (open_rows("colour", "levels"),)),
    (
        "devices",
        r"(\S+) images and (\S+) seeds",
        lambda: (int(setting("devices", "budget.samples")), table("devices", "results")["seed"].nunique()),
    ),
    ("initialisation", r"Of the (\S+) cells, (\S+) chose a rate at an edge", initialisation_at_the_edge),
    (
        "initialisation",
        r"all (\S+) comparisons are open",
        lambda: (open_rows("initialisation", "levels", "he") + open_rows("initialisation", "levels", "torch"),),
    ),
    (
        "initialisation",
        r"open in all (\S+) differences",
        lambda: (open_rows("initialisation", "initialisation"),),
    ),
    ("founding_text", r"open with (\S+) seeds", lambda: (table("founding_text", "results")["seed"].nunique(),)),
]


def number_of(word: str) -> int:
    return COUNTED[word] if word in COUNTED else int(word.strip(".").replace(",", ""))


@pytest.mark.parametrize(("study", "pattern", "expected"), COUNTS, ids=[f"{s}: {p}" for s, p, _ in COUNTS])
def test_the_counts_of_a_sentence_are_those_of_the_committed_tables(
    study: str, pattern: str, expected: Callable[[], tuple[int, ...]]
) -> None:
    found = [match for name, text in SENTENCES if name == study for match in re.finditer(pattern, text)]
    assert found, "no page says so any more: take the pattern out, or mend it"
    for match in found:
        assert tuple(map(number_of, match.groups())) == expected()
