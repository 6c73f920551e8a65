"""report.html as a file: all in one, small, escaped, and complete. test_browser.py opens it."""

import html
import html.parser
import json
import re

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
            assert (attributes["href"] or "").startswith(("#", "figures/"))
    assert not re.search(r"@import|url\(", own(document))
    # Addresses in the page itself are names of schemas and namespaces, which nothing fetches.
    addresses = set(re.findall(r"https?://[^\s\"'<>)\\]+", own(document)))
    assert addresses <= {"https://vega.github.io/schema/vega-lite/v6.1.0.json"} | {
        address for address in addresses if "schema/vega-lite" in address or "w3.org" in address
    }


def test_every_section_is_there_and_linked(written: Lab) -> None:
    elements = Elements(text(written)).elements
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(set(ids)) == len(ids)
    assert set(SECTIONS) <= set(ids)
    targets = [str(attributes["href"])[1:] for tag, attributes in elements if tag == "a" and "#" in str(attributes)]
    assert set(SECTIONS) <= set(targets) <= set(ids)


def test_the_files_that_it_links_exist(written: Lab) -> None:
    links = re.findall(r'href="(figures/[^"]+)"', text(written))
    assert len(links) == 16
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
        "model.norm none, data.batch_size 32: too slow here",
        "5 runs without a result",
        "failed, RunFolderError: no space left",
        "group, batch_size 8, seed 2: waiting",
        "make experiment STUDY=synthetic",
        "optimizer.momentum",
        "c0ffee",
    ):
        assert words in shown, words


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


def test_runs_of_two_commits_are_warned_about(make_lab: MakeLab) -> None:
    lab = make_lab(lambda cell, seed: 0.9 + NOISE[seed])
    path = lab.runs / lab.planned()[0].id / "result.json"
    path.write_text(path.read_text().replace("c0ffee", "facade"))
    lab.write("page")
    assert "more than one version of the code" in text(lab)
    assert "c0ffee; facade" in text(lab)


def test_the_list_of_runs_is_cut_where_the_page_would_grow_too_large(
    make_lab: MakeLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "MAX_RUNS_LISTED", 5)
    lab = make_lab(lambda cell, seed: 0.9 + NOISE[seed])
    lab.write("page")
    assert "13 further runs are in results.csv." in text(lab)
