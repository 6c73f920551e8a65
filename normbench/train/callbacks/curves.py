"""metrics.csv: the curves of a run, a line a number."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from normbench.store.columns import CURVE_COLUMNS
from normbench.store.files import unwritable
from normbench.store.folder import METRICS
from normbench.train.callbacks.clock import Clock
from normbench.train.callbacks.progress import Position


class Curves:
    """Writes metrics.csv, with its columns step, samples, epoch, seconds (of training), split, metric and value.

    Args:
        folder: The run folder.
        position: Where the run stands.
        clock: Its clock.
    """

    def __init__(self, folder: Path, position: Position, clock: Clock) -> None:
        self.path, self.position, self.clock = folder / METRICS, position, clock

    def open(self) -> None:
        """Starts the file, or cuts a resumed run's back to the step where it goes on."""
        rows: list[list[str]] = []
        if self.position.step and self.path.exists():
            with self.path.open(newline="", encoding="utf-8", errors="replace") as file:
                rows = [row for row in csv.reader(file) if len(row) == len(CURVE_COLUMNS) and row[0].isdigit()]
            rows = [row for row in rows if int(row[0]) <= self.position.step]
        self._write([list(CURVE_COLUMNS), *rows], mode="w")

    def add(self, split: str, metrics: Mapping[str, Any]) -> None:
        """Adds a line for each of `metrics` as of now. Raises RunFolderError where the file cannot be written."""
        at = self.position
        place = [at.step, at.samples, f"{at.epochs:.4f}", f"{self.clock.seconds:.3f}", split]
        self._write([[*place, name, f"{float(value):.7g}"] for name, value in metrics.items()], mode="a")

    def _write(self, rows: list[list[Any]], mode: str) -> None:
        try:
            with self.path.open(mode, newline="", encoding="utf-8") as file:
                csv.writer(file).writerows(rows)
        except OSError as error:
            raise unwritable(self.path, error) from None
