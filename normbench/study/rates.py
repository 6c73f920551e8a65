"""Learning rates that a pilot chose, one for each cell, in a file that a study names: `optimizer.lr: {from: FILE}`."""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from normbench.errors import UsageError, unknown
from normbench.spec import read_yaml
from normbench.spec.keys import flatten
from normbench.spec.values import Positive, checked

RATE = "optimizer.lr"
# What a row says beside the labels of its cell and its rate; no axis may be called so.
FACTS = ("val_accuracy", "seeds", "candidates", "pilot", "commit", "code_digest")
KEYS = ("pilot", "commit", "code_digest", "seeds", "rates")


@dataclass(frozen=True, eq=False)
class Rates:
    """The rates of a file.

    Args:
        path: The file.
        axes: Axes whose labels a rate depends on.
        rows: The labels of a cell, as text, in the order of `axes`, and its rate.
        seeds: Seeds on which they were chosen, where the file says so.
        pilot: The study that chose them; "" if the file does not say.
    """

    path: Path
    axes: tuple[str, ...]
    rows: Mapping[tuple[str, ...], float] = field(repr=False)
    seeds: tuple[int, ...] = ()
    pilot: str = ""

    def check(
        self, axes: Mapping[str, Sequence[Any]], keys: Collection[str], seeds: Sequence[int], study: Path
    ) -> None:
        """Raises UsageError where the file is not one for a study with these axes, keys that they set, and seeds."""
        for axis in self.axes:
            if axis not in axes and axis not in keys:
                raise UsageError(f"{study}: {RATE}: {self.path}: {unknown('axis', axis, axes)}")
        if both := sorted(set(seeds) & set(self.seeds)):
            raise UsageError(
                f"{study}: {RATE}: {self.path} was chosen on seed {both[0]}, which the study reports: give the pilot "
                "other seeds, such as [1000, 1001, 1002]"
            )

    def rate(self, cell: Mapping[str, Any]) -> float:
        """The rate of a cell: of its labels, and the keys that they set. Raises UsageError where the file has none."""
        key = tuple(str(cell[axis]) for axis in self.axes)
        if key not in self.rows:
            named = ", ".join(f"{axis}={label}" for axis, label in zip(self.axes, key, strict=True))
            raise UsageError(f"{RATE}: {self.path} names no rate for {named}: tune it in the pilot too, or add a row")
        return self.rows[key]

    @property
    def told(self) -> str:
        """Where they come from, for a reader."""
        pilot = f", chosen by {self.pilot}" if self.pilot else ""
        return f"{self.path.name}{pilot}" + (f", on seeds {', '.join(map(str, self.seeds))}" if self.seeds else "")


def source(value: Any) -> str | None:
    """The label of a value that is `{from: FILE}`; None for any other value."""
    return f"from {value['from']}" if isinstance(value, Mapping) and set(value) == {"from"} else None


def without_rates(values: Mapping[str, Any], study: Path) -> tuple[dict[str, Any], Rates | None]:
    """Dotted keys without a rate that is taken from a file, and the rates of that file.

    Args:
        values: As written, sections nested or dotted.
        study: The study's file, beside which the other lies.
    """
    plain = dict(flatten(values))
    given = plain.get(RATE)
    if not isinstance(given, Mapping):
        return dict(values), None
    if set(given) != {"from"} or not isinstance(given["from"], str):
        raise UsageError(f"{study}: {RATE}: {dict(given)!r} is no rate: give a number, or {{from: FILE}}")
    del plain[RATE]
    beside = study.parent / given["from"]
    return plain, read_rates(beside if beside.is_file() else Path(given["from"]), study)


def read_rates(path: Path, study: Path) -> Rates:
    """The rates of a CSV file or of a YAML file that `normbench tune` wrote. Raises UsageError for anything else."""
    where = f"{study}: {RATE}"
    if not path.is_file():
        raise UsageError(f"{where}: no file of rates at {path}: write it by normbench tune PILOT --to {path.name}")
    tree: dict[str, Any] = {}
    if path.suffix == ".csv":
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows: Any = list(csv.DictReader(file))
    else:
        tree = read_yaml(path, "file of rates")
        for name in tree:
            if name not in KEYS:
                raise UsageError(f"{where}: {path}: {unknown('key of a file of rates', name, KEYS)}")
        rows = tree.get("rates")
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) and RATE in row for row in rows):
        raise UsageError(f"{where}: {path} has no rates: give rows with the labels of each cell and its {RATE}")
    axes = tuple(name for name in rows[0] if name != RATE and name not in FACTS)
    found: dict[tuple[str, ...], float] = {}
    for row in rows:
        if {*axes, RATE} != {name for name in row if name not in FACTS}:
            raise UsageError(f"{where}: {path}: a row has other axes than the first ({', '.join(axes)}): {dict(row)}")
        key = tuple(str(row[axis]) for axis in axes)
        if key in found:
            raise UsageError(f"{where}: {path} names {', '.join(key) or 'all cells'} twice: keep one row")
        found[key] = _rate(row[RATE], f"{where}: {path}")
    return Rates(path, axes, found, _seeds(tree, rows), str(tree.get("pilot") or rows[0].get("pilot") or ""))


def _rate(value: Any, where: str) -> float:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            raise UsageError(f"{where}: {value!r} is no learning rate: give a number above 0") from None
    return float(checked(value, Positive, f"{where}: {RATE}"))


def _seeds(tree: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> tuple[int, ...]:
    """The seeds that a file or its rows name."""
    text = " ".join(str(part) for part in (tree.get("seeds"), *(row.get("seeds") for row in rows)))
    return tuple(sorted({int(number) for number in re.findall(r"\d+", text)}))
