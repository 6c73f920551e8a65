"""The rows of a W&B run: one for each step and split of metrics.csv, in its order, and back again.

A row's place in the file is its W&B step. A row that W&B has already is therefore known as such, which makes it
safe to send a run twice: resumed, pushed, or both.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from normbench.store.columns import CURVE_COLUMNS

POSITION = CURVE_COLUMNS[:4]  # step, samples, epoch, seconds: where a run stands
SPLITS = frozenset({"train", "validation", "test", "probe"})
FORMULA = "=+-@"  # no metric of a run begins so; a spreadsheet that opens the file would execute it

Point = dict[str, Any]


def points(lines: Iterable[str]) -> list[Point]:
    """Rows such as {"step": 12, "samples": 96, "epoch": 0.0017, "seconds": 0.053, "train/loss": 2.285631}.

    Args:
        lines: Whole lines of a metrics.csv; its heading and broken lines are left out.
    """
    found: list[Point] = []
    place: tuple[str, str] | None = None
    for row in csv.reader(lines):
        if len(row) != len(CURVE_COLUMNS) or not row[0].isdecimal():
            continue
        step, samples, epoch, seconds, split, metric, value = row
        key = f"{split}/{metric}"
        # A metric that comes again is a second look at the same step, wherever the lines were cut.
        if place != (step, split) or key in found[-1]:
            place = (step, split)
            found.append({"step": int(step), "samples": int(samples), "epoch": float(epoch), "seconds": float(seconds)})
        found[-1][key] = float(value)
    return found


def metrics_csv(rows: Iterable[Mapping[str, Any]]) -> str:
    """The metrics.csv that `points` reads as `rows`; keys that no split explains are left out."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(CURVE_COLUMNS)
    for row in rows:
        at = [int(row["step"]), int(row["samples"]), f"{float(row['epoch']):.4f}", f"{float(row['seconds']):.3f}"]
        for key in sorted(row):
            split, _, metric = key.partition("/")
            if split in SPLITS and metric and metric.isprintable() and metric[0] not in FORMULA:
                writer.writerow([*at, split, metric, f"{float(row[key]):.7g}"])
    return out.getvalue()


class Follower:
    """Reads what was added to a metrics.csv since the last look."""

    def __init__(self, path: Path) -> None:
        self.path, self.at = path, 0

    def read(self) -> list[Point]:
        """The new points; none where there is no file yet. A last line that is not whole waits for its end."""
        try:
            with self.path.open("rb") as file:
                file.seek(self.at)
                fresh = file.read()
        except FileNotFoundError:
            return []
        whole = fresh[: fresh.rfind(b"\n") + 1]
        self.at += len(whole)
        return points(whole.decode("utf-8", errors="replace").splitlines())
