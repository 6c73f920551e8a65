"""The files of all figures: SVG, PNG and CSV under figures/.

What Vega drew last time is kept in mind in the store's root, `.drawn/STUDY.json`: for each figure the digest of what
it was drawn from, and of the two files that came of it. A figure of which all three are as they were is not drawn
again. It is a cache: without it, or where it cannot be read, everything is drawn.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from normbench.errors import NormbenchError
from normbench.machine import cores
from normbench.report import render
from normbench.report.evidence import Evidence
from normbench.report.figures import Drawn, drawn_figures
from normbench.report.figures.style import still
from normbench.report.tables import csv_text
from normbench.store import make_folder, unwritable, write_atomically

DRAWN = ".drawn"
SUFFIXES = (".svg", ".png", ".csv")
Record = dict[str, list[str]]  # by figure: digests of its chart, of its SVG and of its PNG


class FigureFiles:
    """The files of a report's figures, begun when it is made and finished by `finish`.

    Args:
        evidence: What the figures show.
        folder: Of the report.
    """

    def __init__(self, evidence: Evidence, folder: Path) -> None:
        self.folder = folder / "figures"
        make_folder(self.folder)
        self.record = evidence.store.root / DRAWN / f"{evidence.study.name}.json"
        drawn = drawn_figures(evidence)
        for old in self.folder.iterdir():  # a figure of an earlier version of the study would look like one of this
            if old.suffix in SUFFIXES and old.stem not in drawn and old.is_file():
                old.unlink()
        self.paths = [self.folder / f"{name}{suffix}" for name in drawn for suffix in SUFFIXES]
        drawer = version("vl-convert-python")
        charts = {name: json.dumps(still(figure.spec)) for name, figure in drawn.items()}
        self.digests = {name: _digest(f"{drawer} {render.SCALE} {c}") for name, c in charts.items()}
        known = _read(self.record)
        self.changed = {name: chart for name, chart in charts.items() if self._found(name) != known.get(name, [])}
        self._beside = _beside(self.changed, self.folder)
        self._write_data(drawn)

    def finish(self) -> list[Path]:
        """Waits for what is drawn beside; returns the paths of all files. RunFolderError where one is not written."""
        if self._beside is None or not _succeeded(self._beside):
            try:
                render.render(self.changed, self.folder)
            except OSError as error:
                raise unwritable(Path(error.filename or self.folder), error) from None
        if self.changed:
            found = {name: digests for name in self.digests if (digests := self._found(name)) is not None}
            with suppress(OSError, NormbenchError):  # a store that can only be read
                write_atomically(self.record, json.dumps(found, indent=0) + "\n")
        return self.paths

    def _found(self, name: str) -> list[str] | None:
        """What the record says of a figure whose files are as they are now; None where one is missing."""
        try:
            files = [(self.folder / f"{name}{suffix}").read_bytes() for suffix in SUFFIXES[:2]]
        except OSError:
            return None
        return [self.digests[name], *map(_digest, files)]

    def _write_data(self, drawn: Mapping[str, Drawn]) -> None:
        for name, figure in drawn.items():
            path = self.folder / f"{name}.csv"
            try:
                path.write_bytes(csv_text(figure.data).encode())
            except OSError as error:
                raise unwritable(path, error) from None


def _beside(charts: Mapping[str, str], folder: Path) -> Future[subprocess.CompletedProcess[bytes]] | None:
    """A process that draws the charts; None where there are none, or no core is left for it."""
    if not charts or cores() < 2:
        return None
    command = [sys.executable, "-P", render.__file__, str(folder)]  # -P: nothing beside the file is imported
    pool = ThreadPoolExecutor(1)
    found = pool.submit(subprocess.run, command, input=json.dumps(charts).encode(), capture_output=True)
    pool.shutdown(wait=False)
    return found


def _succeeded(process: Future[subprocess.CompletedProcess[bytes]]) -> bool:
    """Whether it drew everything. What went wrong there is told by drawing it here."""
    try:
        return process.result().returncode == 0
    except OSError:
        return False


def _read(path: Path) -> Record:
    with suppress(OSError, ValueError):
        found = json.loads(path.read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else {}
    return {}


def _digest(content: str | bytes) -> str:
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()
