"""What was measured, as files: `reports/findings/results/<id>.json`, and `<id>.csv` with what the plot shows."""

from __future__ import annotations

import json
import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from normbench.findings.finding import Finding, Outcome, Quantity, Verdict
from normbench.store import make_folder, write_atomically

DIGITS = 6  # significant; what follows differs between machines
FOLDER = "findings"


@dataclass(frozen=True)
class Result:
    """The stored outcome of a finding.

    Args:
        quantities: As measured.
        criterion: As it stood then.
        detail: File of what the plot shows, if there is one.
    """

    quantities: dict[str, Quantity]
    criterion: list[str]
    detail: Path | None = None


def write_result(finding: Finding, outcome: Outcome, reports: Path) -> Path:
    """Writes the outcome and returns its path."""
    folder = reports / FOLDER / "results"
    make_folder(folder)
    tree: dict[str, Any] = {
        "id": finding.id,
        "criterion": [bound.text for bound in finding.criterion],
        "quantities": {
            name: {"value": _short(q.value), "low": _short(q.low), "high": _short(q.high), "n": q.n}
            for name, q in outcome.quantities.items()
        },
    }
    path = folder / f"{finding.id}.json"
    write_atomically(path, json.dumps(tree, indent=1) + "\n")
    if outcome.detail is not None:
        write_atomically(path.with_suffix(".csv"), outcome.detail.to_csv(index=False, float_format=f"%.{DIGITS}g"))
    return path


def read_result(finding: Finding, reports: Path) -> Result | None:
    """The stored outcome; None where the finding was not run, or its file cannot be read, which is warned of."""
    path = reports / FOLDER / "results" / f"{finding.id}.json"
    if not path.is_file():
        return None
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        quantities = {
            name: Quantity(_number(q["value"]), _number(q["low"]), _number(q["high"]), int(q["n"]))
            for name, q in tree["quantities"].items()
        }
        criterion = list(tree["criterion"])
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        warnings.warn(f"{path} is not a whole result: {finding.command} makes it anew", UserWarning, stacklevel=2)
        return None
    detail = path.with_suffix(".csv")
    return Result(quantities, criterion, detail if detail.is_file() else None)


def verdict_of(finding: Finding, result: Result | None) -> Verdict | None:
    """The verdict; None where the finding was not run under the criterion that it has now."""
    if result is None or result.criterion != [bound.text for bound in finding.criterion]:
        return None
    return finding.verdict(result.quantities)


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _short(value: float) -> float | None:
    return None if math.isnan(value) else float(f"{value:.{DIGITS}g}")
