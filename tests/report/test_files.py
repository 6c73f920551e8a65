"""The files of figures: the same with and without what is kept of the last time, which is never trusted blindly."""

import json
import re
from hashlib import sha256
from pathlib import Path

import pytest

from normbench.errors import RunFolderError
from normbench.report import files, render
from normbench.report.files import DRAWN

from .conftest import Lab

NAME = "detectable"  # a figure that is quickly drawn


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder; Vega counts clips and gradients on from one figure to the next."""
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {
        name: re.sub(rb"(clip|gradient_)\d+", rb"\1", content) if name.endswith(".svg") else content
        for name, content in found.items()
    }


def record(lab: Lab) -> Path:
    return lab.runs / DRAWN / f"{lab.name}.json"


def test_a_report_is_the_same_with_and_without_what_was_kept(typical_lab: Lab) -> None:
    whole = contents(typical_lab.report)
    assert record(typical_lab).exists()
    typical_lab.write()
    assert contents(typical_lab.report) == whole
    record(typical_lab).unlink()
    typical_lab.write()
    assert contents(typical_lab.report) == whole


def test_only_what_changed_is_drawn_again(typical_lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "cores", lambda: 1)  # so that it is drawn in this process
    drawn: list[str] = []
    original = render.render

    def spy(charts: dict[str, str], folder: Path) -> None:
        drawn.extend(charts)
        original(charts, folder)

    monkeypatch.setattr(render, "render", spy)
    typical_lab.write("figures")
    assert drawn == []
    figures = typical_lab.report / "figures"
    whole = {suffix: (figures / f"{NAME}{suffix}").read_bytes() for suffix in (".svg", ".png")}
    (figures / f"{NAME}.svg").write_bytes(whole[".svg"][:-1])  # truncated
    typical_lab.write("figures")
    assert drawn == [NAME]
    (figures / f"{NAME}.png").unlink()
    typical_lab.write("figures")
    assert drawn == [NAME, NAME]
    assert {suffix: (figures / f"{NAME}{suffix}").read_bytes() for suffix in whole} == whole
    kept = json.loads(record(typical_lab).read_text())
    record(typical_lab).write_text(json.dumps(kept | {NAME: ["0" * 64, *kept[NAME][1:]]}))  # of another chart
    typical_lab.write("figures")
    assert drawn == [NAME] * 3
    assert json.loads(record(typical_lab).read_text()) == kept
    assert kept[NAME][1:] == [sha256(content).hexdigest() for content in whole.values()]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"detectable": null}'])
def test_a_broken_record_is_none(typical_lab: Lab, content: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = record(typical_lab).read_text()
    record(typical_lab).write_text(content)
    monkeypatch.setattr(render, "render", lambda charts, folder: None)  # the files are there: none need be drawn
    monkeypatch.setattr(files, "cores", lambda: 1)
    typical_lab.write("figures")
    assert record(typical_lab).read_text() == whole


def test_where_no_process_can_be_started_it_draws_itself(typical_lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = contents(typical_lab.report)
    monkeypatch.setattr(files, "cores", lambda: 2)
    monkeypatch.setattr(files.sys, "executable", str(typical_lab.runs / "no such python"))
    path = typical_lab.report / "figures" / f"{NAME}.svg"
    path.unlink()
    typical_lab.write("figures")
    assert path.exists()
    assert contents(typical_lab.report) == whole


@pytest.mark.parametrize("suffix", [".svg", ".csv"])
def test_a_folder_in_the_place_of_a_figure_is_named(
    typical_lab: Lab, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    monkeypatch.setattr(files, "cores", lambda: 1)
    path = typical_lab.report / "figures" / f"{NAME}{suffix}"
    path.unlink()
    path.mkdir()
    with pytest.raises(RunFolderError, match=f"cannot write {path}: a folder has that name; move it away"):
        typical_lab.write("figures")
    path.rmdir()


def test_a_folder_that_is_no_figure_of_the_study_is_left_alone(typical_lab: Lab) -> None:
    folder = typical_lab.report / "figures" / "other.svg"
    folder.mkdir()
    typical_lab.write("figures")
    folder.rmdir()
