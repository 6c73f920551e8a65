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
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from normbench.errors import NormbenchError
from normbench.machine import cores
from normbench.report import render
from normbench.report.evidence import Evidence
from normbench.report.figures import Drawn, each_figure
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
        self.digests: dict[str, str] = {}
        self.changed: dict[str, str] = {}
        self._drawing = Drawing(self.folder) if cores() > 1 else None
        drawer, known = version("vl-convert-python"), _read(self.record)
        for name, figure in each_figure(evidence):
            chart = json.dumps(still(figure.spec))
            self.digests[name] = _digest(f"{drawer} {render.SCALE} {chart}")
            if self._found(name) != known.get(name, []):
                self.changed[name] = chart
                if self._drawing:
                    self._drawing.add(name, chart)
            self._write_data(name, figure)
        for old in self.folder.iterdir():  # a figure of an earlier version of the study would look like one of this
            if old.suffix in SUFFIXES and old.stem not in self.digests and old.is_file():
                old.unlink()
        self.paths = [self.folder / f"{name}{suffix}" for name in self.digests for suffix in SUFFIXES]

    def finish(self) -> list[Path]:
        """Waits for what is drawn beside; returns the paths of all files. RunFolderError where one is not written."""
        if self._drawing is None or not self._drawing.succeeded():
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

    def _write_data(self, name: str, figure: Drawn) -> None:
        path = self.folder / f"{name}.csv"
        try:
            path.write_bytes(csv_text(figure.data).encode())
        except OSError as error:
            raise unwritable(path, error) from None


class Drawing:
    """A process beside that draws charts, begun with the first of them.

    Args:
        folder: Where it writes.
    """

    def __init__(self, folder: Path) -> None:
        self.command = [sys.executable, "-P", render.__file__, str(folder)]  # -P: nothing beside the file is imported
        self._process: subprocess.Popen[bytes] | None = None
        self._failed = False
        self._writer = ThreadPoolExecutor(1)  # it takes the next chart only when it has drawn the one before

    def add(self, name: str, chart: str) -> None:
        """Has a chart (Vega-Lite as JSON) drawn as NAME.svg and NAME.png."""
        if self._process is None and not self._failed:
            try:
                self._process = subprocess.Popen(
                    self.command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
                )
            except OSError:
                self._failed = True
        if self._process is not None:
            self._writer.submit(self._tell, self._process, json.dumps([name, chart]).encode() + b"\n")

    def succeeded(self) -> bool:
        """Waits; whether everything was drawn. What went wrong there is told by drawing it here."""
        self._writer.shutdown()
        if self._process is None:
            return not self._failed
        try:
            self._process.communicate()
        except OSError:
            return False
        return self._process.returncode == 0

    @staticmethod
    def _tell(process: subprocess.Popen[bytes], line: bytes) -> None:
        assert process.stdin is not None
        with suppress(OSError):  # it ended: its status tells
            process.stdin.write(line)
            process.stdin.flush()


def _read(path: Path) -> Record:
    with suppress(OSError, ValueError):
        found = json.loads(path.read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else {}
    return {}


def _digest(content: str | bytes) -> str:
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()
