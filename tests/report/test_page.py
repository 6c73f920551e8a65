"""report.html as a file: all in one, small, escaped, and complete. test_browser.py opens it."""

import html
import html.parser
import json
import re
from pathlib import Path

import pytest

from normbench.report.page import html as page

from .conftest import NASTY, NOISE, Lab, MakeLab

SECTIONS = ["answer", "design", "tables", "figures", "cost-section", "runs", "environment", "reproduce"]


def text(lab: Lab) -> str:
    return (lab.report / "report.html").read_text(encoding="utf-8")


def own(document: str) -> str:
    """The page without the charting library."""
    return document.replace(page.vega_bundle(), "")


class Elements(html.parser.HTMLParser):
    """Every element with its attributes, and the text outside of scripts and styles."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text, self._raw = "", False
        self.feed(document)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._raw = tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self._raw = False

    def handle_data(self, data: str) -> None:
        self.text += "" if self._raw else data


def test_one_file_under_ten_megabytes_that_loads_nothing(written: Lab) -> None:
    document = text(written)
    assert len(document.encode()) < 10e6
    for tag, attributes in Elements(document).elements:
        assert tag not in {"iframe", "object", "embed", "base"}
        assert "src" not in attributes
        if tag == "link":
            assert attributes["href"] == "data:,"
        if tag == "a":
            assert (attributes["href"] or "").startswith(("#", "figures/")) or (attributes["href"] or "").endswith(
                ".csv"
            )
    assert not re.search(r"@import|url\(", own(document))
    # Addresses in the page itself are names of schemas and namespaces, which nothing fetches.
    addresses = set(re.findall(r"https?://[^\s\"'<>)\\]+", own(document)))
    assert addresses <= {"https://vega.github.io/schema/vega-lite/v6.1.0.json"} | {
        address for address in addresses if "schema/vega-lite" in address or "w3.org" in address
    }


def test_a_title_is_read_whole_beside_a_table_that_is_wider_than_the_window(written: Lab) -> None:
    """On a phone `Change from batch_size 128, compared with bat` was what could be seen of one."""
    page = own(text(written))
    assert page.count("<caption>") == page.count("<caption><span>") > 1
    assert re.search(r"caption span \{[^}]*position: sticky[^}]*max-width: calc\(100vw", page)


def test_every_section_is_there_and_linked(written: Lab) -> None:
    elements = Elements(text(written)).elements
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(set(ids)) == len(ids)
    assert set(SECTIONS) <= set(ids)
    targets = [str(attributes["href"])[1:] for tag, attributes in elements if tag == "a" and "#" in str(attributes)]
    assert set(SECTIONS) <= set(targets) <= set(ids)


def test_the_files_that_it_links_exist(written: Lab) -> None:
    links = re.findall(r'href="(figures/[^"]+)"', text(written))
    assert len(links) == 24
    assert all((written.report / link).is_file() for link in links)


def test_says_what_was_asked_done_skipped_and_failed(make_lab: MakeLab) -> None:
    def outcome(cell: dict, seed: int) -> float | str | None:
        return {0: 0.9, 1: 0.91, 2: "failed"}[seed] if cell["model.norm"] != "group" or seed < 2 else None

    lab = make_lab(
        outcome,
        question="Does it matter?",
        notes="A note.",
        skip=[{"when": {"model.norm": "none", "data.batch_size": 32}, "reason": "too slow here"}],
    )
    lab.write("page")
    shown = " ".join(Elements(text(lab)).text.split())
    for words in (
        "Does it matter?",
        "A note.",
        "10 of 15 done",
        "none, batch, group",
        "640 samples",
        "norm none, batch_size 32: too slow here",
        "5 runs without a result: 3 failed, 2 waiting",
        "failed, RunFolderError: no space left in x",
        "group, batch_size 8, seed 2: waiting",
        "make experiment STUDY=synthetic",
        "optimizer.momentum",
        "c0ffee",
    ):
        assert words in shown, words
    assert "model.norm none" not in shown  # axes have the names of the tables


def test_charts_have_alternative_texts(written: Lab) -> None:
    charts = [a for _, a in Elements(text(written)).elements if a.get("class") == "chart"]
    assert len(charts) == 8
    for chart in charts:
        assert chart["role"] == "img"
        assert len(chart["aria-label"] or "") > 30


def test_user_text_is_escaped_everywhere(nasty: Lab) -> None:
    document = own(text(nasty))
    parsed = Elements(document)
    assert f"Is {NASTY} safe?" in parsed.text
    assert f"Note {NASTY}" in parsed.text
    assert document.count("<script>") == document.count("</script>") == 3
    assert not [tag for tag, _ in parsed.elements if tag in {"img", "b"}]
    assert "alert(1)</script>" not in document


def test_json_in_a_script_reads_back(nasty: Lab) -> None:
    value = {"</script>": [NASTY, None, 1.5]}
    shown = page._script_json(value)
    assert json.loads(shown) == value
    assert not set("<>&") & set(shown)


def test_a_page_without_runs_has_no_chart_and_no_library(make_lab: MakeLab) -> None:
    lab = make_lab(lambda cell, seed: None)
    lab.write("page")
    assert len(text(lab)) < 100_000
    assert "No run is done yet." in text(lab)


def change_result(lab: Lab, place: int, old: str, new: str) -> None:
    path = lab.runs / lab.planned()[place].id / "result.json"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_runs_of_two_versions_of_the_code_are_warned_about(make_lab: MakeLab) -> None:
    """The environment is that of all runs: the last of 60 differs."""
    lab = make_lab(lambda cell, seed: 0.9 + NOISE[seed], seeds=10)
    assert len(lab.planned()) == 60
    change_result(lab, 59, "0123456789abcdef", "fedcba9876543210")
    change_result(lab, 59, "2.6.0", "2.7.1")
    lab.write("page")
    assert "more than one version of the code: digests 0123456789abcdef, fedcba9876543210" in text(lab)
    assert "2.6.0 (59 runs); 2.7.1 (1 run)" in text(lab)


def test_uncommitted_code_is_named(make_lab: MakeLab) -> None:
    lab = make_lab(lambda cell, seed: 0.9 + NOISE[seed])
    for place in range(len(lab.planned())):
        change_result(lab, place, "c0ffee", "c0ffee+")
    lab.write("page")
    assert f"{len(lab.planned())} runs come from uncommitted changes of commit c0ffee." in text(lab)
    assert "more than one version" not in text(lab)


def test_uncommitted_changes_of_other_files_than_the_code_are_no_note(make_lab: MakeLab) -> None:
    """A study's file is edited, runs of the commit itself have the same digest of the code."""
    lab = make_lab(lambda cell, seed: 0.9 + NOISE[seed])
    for place in (0, 1):
        change_result(lab, place, "c0ffee", "c0ffee+")
    lab.write("page")
    assert "uncommitted" not in text(lab)


def test_another_commit_with_the_same_code_is_no_other_version(make_lab: MakeLab) -> None:
    lab = make_lab(lambda cell, seed: 0.9 + NOISE[seed])
    change_result(lab, 0, "c0ffee", "facade")
    lab.write("page")
    assert "version of the code" not in text(lab)
    assert "c0ffee (17 runs); facade (1 run)" in text(lab)


def test_neither_places_nor_people_are_in_the_page(make_lab: MakeLab, tmp_path: Path) -> None:
    (tmp_path / "digits").mkdir()
    base = {"data": {"name": "mnist", "dir": str(tmp_path / "digits")}, "budget": {"samples": 640}}
    lab = make_lab(lambda cell, seed: 0.9 + NOISE[seed] if seed else "failed", base=base)
    lab.write()
    for path in lab.report.rglob("*"):
        if path.suffix in (".html", ".json", ".md", ".tex", ".csv"):
            shown = path.read_text(encoding="utf-8")
            for secret in ("/home/ada", "ada-pc", str(tmp_path)):
                assert secret not in shown, (path.name, secret)


def test_numbers_carry_the_value_that_they_sort_by(written: Lab) -> None:
    """`3 to 12` or `< 0.001` or `98.9 ± 0.1` would sort by their first digit, or not at all."""
    for tag, attributes in Elements(text(written)).elements:
        if tag == "td" and "data-value" in attributes:
            float(attributes["data-value"] or "")
    rows = re.findall(r'<td class="plain" data-value="([^"]+)">(-?[\d.]+) ±', own(text(written)))
    assert len(rows) >= 12
    for value, shown in rows:
        assert float(shown) in (pytest.approx(100 * float(value), abs=0.006), pytest.approx(float(value), abs=0.06))


def test_every_metric_has_its_table_and_the_loss_its_axes(written: Lab) -> None:
    elements = Elements(text(written)).elements
    options = [a["value"] for tag, a in elements if tag == "option" and a["value"] and not a["value"].isdigit()]
    shown = {str(a["data-metric"]): "hidden" in a for _, a in elements if a.get("class") == "metric"}
    assert list(shown) == options
    assert shown.pop("test_accuracy") is False
    assert all(shown.values())
    selects = [a["data-chart"] for tag, a in elements if tag == "select" and a.get("class") == "axis"]
    assert selects == ["training_loss", "validation_error"]
    assert "Every paired seed" in text(written)


def test_the_list_of_runs_is_cut_where_the_page_would_grow_too_large(
    make_lab: MakeLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "MAX_RUNS_LISTED", 5)
    lab = make_lab(lambda cell, seed: 0.9 + NOISE[seed])
    lab.write("page")
    assert "13 further runs are in results.csv." in text(lab)
