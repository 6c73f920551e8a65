"""The documentation holds: its commands run, its programs run, its studies can be planned, its links lead somewhere.

The rule for every fenced block of README.md and docs/*.md, read from top to bottom in one temporary folder a page:

    <!-- file: NAME -->     before a block: it is written to that file
    <!-- run -->            before a bash block: it is executed as it stands, and has to end with 0
    <!-- run: fails N -->   likewise, and has to end with N
    <!-- not run: WHY -->   before a bash block: needs a network, a cluster or minutes
    python                  executed as a program (one with a file name is imported by the page's commands)
    yaml                    a study (it has a grid) is planned; anything else is a configuration, and is printed
                            (`train --config FILE --print_config`), unless the page plans it itself
    text                    output, or a picture of folders: only read

A bash block without a marker is an error.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from normbench import environ
from normbench.spec.schema import SECTIONS, hints
from normbench.study.compare import FIRST_KEYS
from normbench.study.file import KEYS
from tests.conftest import REPOSITORY

RUN_PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
PAGES = [*RUN_PAGES, REPOSITORY / "CONTRIBUTING.md", REPOSITORY / "CHANGELOG.md"]
# More than 10 seconds:
SLOW = {"README.md", "getting_started.md", "extend.md", "many_machines.md", "faults.md", "invent_a_norm.md"}
LONGEST = 1200  # seconds of a block: a bound for what hangs, on a machine that others use too

_BLOCK = re.compile(r"(?:^<!-- (?P<mark>[^\n]*) -->\n)?^```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
_TEST = re.compile(r"`(tests/[\w/]+\.py)`::(test_\w+)")


@dataclass(frozen=True)
class Block:
    """A fenced block: the word behind its fence, the comment before it, and its text."""

    kind: str
    mark: str
    text: str
    line: int


def blocks(page: Path) -> Iterator[Block]:
    content = page.read_text(encoding="utf-8")
    for match in _BLOCK.finditer(content):
        line = content.count("\n", 0, match.start("kind")) + 1
        yield Block(match["kind"], match["mark"] or "", match["text"], line)


def name(page: Path) -> str:
    return page.name


def cases() -> list[object]:
    return [
        pytest.param(page, id=page.name, marks=[pytest.mark.slow] if page.name in SLOW else []) for page in RUN_PAGES
    ]


class Session:
    """What a reader does with a page: a folder, and the commands typed there."""

    def __init__(self, folder: Path, page: str = "") -> None:
        self.folder, self.page = folder, page
        folder.mkdir()
        shutil.copytree(REPOSITORY / "experiments", folder / "experiments")
        commands = folder.parent / "bin"
        commands.mkdir()
        for command, words in {"normbench": "-m normbench", "python": ""}.items():
            path = commands / command
            path.write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n', encoding="utf-8")
            path.chmod(0o755)
        paths = [str(REPOSITORY), os.environ.get("PYTHONPATH", "")]
        self.environment = {
            **os.environ,
            "PATH": f"{commands}:{os.environ['PATH']}",
            "PYTHONPATH": ":".join(path for path in paths if path),
            "CUDA_VISIBLE_DEVICES": "",
        }

    def do(self, words: list[str], status: int, what: str) -> None:
        started = time.monotonic()
        done = subprocess.run(
            words, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=LONGEST, check=False
        )
        took = time.monotonic() - started
        told = f"{what} ended with {done.returncode} after {took:.0f} s:\n{done.stdout}\n{done.stderr}"
        assert done.returncode == status, told
        assert "Traceback" not in done.stderr, told

    def act(self, block: Block, what: str) -> None:
        """Does what the rule at the top says of a block."""
        file = None
        if block.mark.startswith("file: "):
            file = self.folder / block.mark.removeprefix("file: ")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.text, encoding="utf-8")
        if block.kind == "bash":
            assert block.mark.startswith(("run", "not run: ")), f"{what}: a bash block says whether it is run"
            if block.mark.startswith("run"):
                status = int((re.search(r"fails (\d+)", block.mark) or ["0", "0"])[1])
                self.do(["bash", "-euo", "pipefail", "-c", block.text], status, what)
        elif block.kind == "python" and file is None:
            self.do([sys.executable, "-c", block.text], 0, what)
        elif block.kind == "yaml":
            assert file is not None, f"{what}: a yaml block has a file name"
            if f"normbench plan {file.name}" in self.page:
                return  # the page does it itself
            is_study = re.search(r"^grid:", block.text, re.MULTILINE)
            command = ["plan", file.name] if is_study else ["train", "--config", file.name, "--print_config"]
            self.do([sys.executable, "-m", "normbench", *command], 0, what)
        else:
            assert block.kind in {"python", "text", "bash"}, f"{what}: a block is bash, python, yaml or text"


@pytest.mark.parametrize("page", cases())
def test_a_page_does_what_it_says(page: Path, tmp_path: Path) -> None:
    session = Session(tmp_path / "page", "".join(block.text for block in blocks(page) if block.mark == "run"))
    for block in blocks(page):
        session.act(block, f"{page.name}, line {block.line}")


def test_the_rule_is_seen_to_be_broken(tmp_path: Path) -> None:
    """The test above can fail: a command that fails, and one that nothing is said of."""
    session = Session(tmp_path / "page")
    with pytest.raises(AssertionError, match="ended with 2"):
        session.act(Block("bash", "run", "normbench plan nothing\n", 1), "here")
    with pytest.raises(AssertionError, match="says whether it is run"):
        session.act(Block("bash", "", "true\n", 1), "here")
    session.act(Block("bash", "run: fails 2", "normbench plan nothing\n", 1), "here")


# Links.


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    found = set()
    for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        found.add(re.sub(r"[^\w\- ]", "", plain).replace(" ", "-"))
    return found


def links(page: Path) -> list[str]:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return [one or two for one, two in _LINK.findall(text)]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name} links to {link}"
        assert target.is_relative_to(REPOSITORY), f"{page.name} links out of the repository: {link}"
        if anchor:
            assert anchor in anchors(target), f"{page.name} links to {link}: {sorted(anchors(target))}"


def test_every_page_is_linked_from_the_readme() -> None:
    linked = {link.partition("#")[0] for link in links(REPOSITORY / "README.md")}
    assert {f"docs/{page.name}" for page in (REPOSITORY / "docs").glob("*.md")} <= linked


# What the pages say of the code.


def cells(page: Path, heading: str) -> list[list[str]]:
    """Rows of the first table below a heading."""
    part = page.read_text(encoding="utf-8").partition(f"\n{heading}\n")[2]
    table = re.search(r"(?:^\|.*\|\n)+", part, re.MULTILINE)
    assert table, f"{page.name} has no table below {heading}"
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[0].splitlines()[2:]]


def test_environment_variables_are_those_that_are_heard() -> None:
    rows = cells(REPOSITORY / "docs" / "many_machines.md", "## Environment variables")
    assert {", ".join(re.findall(r"`([^`]+)`", row[0])): row[1] for row in rows} == environ.DOCUMENTED


def test_every_key_of_a_study_is_explained() -> None:
    rows = cells(REPOSITORY / "docs" / "studies.md", "## Keys of a study")
    assert {row[0].strip("`") for row in rows} == set(KEYS)
    rows = cells(REPOSITORY / "docs" / "studies.md", "## compare")
    told = {name for row in rows for name in re.findall(r"`(\w+)`", row[0])}
    assert told == set(FIRST_KEYS) - {"kind"}
    rows = cells(REPOSITORY / "docs" / "studies.md", "## base")
    assert {row[0].strip("`") for row in rows} == {*SECTIONS, "seed", "plugins", "probes"}
    for section in ("data", "model", "optimizer", "budget", "trainer"):
        text = next(row[1] for row in rows if row[0] == f"`{section}`")
        assert set(re.findall(r"`(\w+)`", text)) >= set(hints(section)), section


def test_tests_that_are_named_exist() -> None:
    named = [found for page in PAGES for found in _TEST.findall(page.read_text(encoding="utf-8"))]
    assert named, "docs/faults.md names the test of each fault"
    for path, test in named:
        assert f"def {test}(" in (REPOSITORY / path).read_text(encoding="utf-8"), f"{path}::{test}"
