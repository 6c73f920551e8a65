"""What the page lists: runs, raw paired seeds, and runs without a result."""

from __future__ import annotations

import os
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import quote

import pandas as pd

from normbench.privacy import without_paths
from normbench.report.evidence import Evidence
from normbench.report.tables import Cell, Grid, html_table, paired_seeds

MOST_PAIRS = 1000  # raw pairs that the page lists; pairs.csv has them all
MOST_UNFINISHED = 500


def run_table(evidence: Evidence, most: int) -> dict[str, Any]:
    """Every run: the axes, seed and main figures, for the table that sorts and filters."""
    axes = [evidence.factor, *evidence.across, *([evidence.tuned] if evidence.tuned else [])]
    wanted = ["run_id", *axes, "seed", "dataset", evidence.metric.name, "test_nll", "train_loss", "lr", "steps"]
    wanted += ["samples", "images_per_statistic", "values_per_statistic", "seconds", "diverged_at_step", "commit"]
    columns = [name for name in dict.fromkeys(wanted) if name in evidence.runs]
    frame = evidence.runs[columns].head(most)
    rows = frame.astype(object).where(frame.notna(), None).to_dict("split")["data"]
    titles = [evidence.title(name) for name in columns]
    return {"columns": titles, "rows": [[_short(value) for value in row] for row in rows]}


def run_link(root: Path, folder: Path) -> str:
    """Address of the run folders from the page; "" where it would tell of more of this machine than their name."""
    try:
        parts = PurePath(os.path.relpath(root.resolve(), folder.resolve())).parts
    except (OSError, ValueError):  # on another drive
        return ""
    names = [part for part in parts if part != ".."]
    return "/".join([*parts[: len(parts) - 1], quote(names[0])]) + "/" if len(names) == 1 else ""


def _short(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}")
    return value if value is None or isinstance(value, str | bool | int) else str(value)


def paired_table(evidence: Evidence) -> str:
    """The raw differences of every seed in the study's metric, as HTML; empty where there is none."""
    if evidence.chosen.empty:
        return ""
    frame, metric = paired_seeds(evidence), evidence.metric
    if frame.empty:
        return ""
    axes = [name for name in (*evidence.across, evidence.factor) if name in frame]
    rows = []
    for row in frame.head(MOST_PAIRS).to_dict("records"):
        cell = [f"{evidence.title(axis)} {row[axis]}" for axis in axes if pd.notna(row[axis])]
        name = ", ".join([f"{row['treatment']} − {row['baseline']}", *cell, *([row["along"]] if row["along"] else [])])
        known = pd.notna(row["diff"])
        states = [f"{row[side]} {row[f'{side}_state']}" for side in ("treatment", "baseline")]
        text = metric.shown_number(row["diff"]) if known else "—"
        cells = [
            Cell(str(row["seed"]), value=float(row["seed"])),
            Cell(text, value=float(row["diff"]) if known else None),
            Cell("" if known else ", ".join(states)),
        ]
        rows.append((name, cells))
    unit = f" ({metric.difference_unit})" if metric.difference_unit else ""
    left = f"; {len(frame) - MOST_PAIRS:,} more are in pairs.csv" if len(frame) > MOST_PAIRS else ""
    note = f"Difference in {metric.label} within each seed{left}."
    columns = ["seed", f"difference{unit}", "not paired"]
    return html_table(Grid("Paired seeds", columns, rows, note, words=("not paired",)), "paired")


def states_text(evidence: Evidence) -> str:
    """How many runs have no result, and what they do: `5 runs without a result: 2 failed, 3 waiting`."""
    left = sum(evidence.states.values())
    if not left:
        return ""
    states = ", ".join(f"{count} {state}" for state, count in sorted(evidence.states.items()))
    return f"{left} run{'s' * (left != 1)} without a result: {states}"


def unfinished_list(evidence: Evidence) -> list[str]:
    """Runs without a result, one by one: cell, state and reason, without places of this machine."""
    found = []
    for run in evidence.unfinished[:MOST_UNFINISHED]:
        why = f", {without_paths(run['why'])}" if run["why"] else ""
        found.append(f"{run['run']}: {run['state']}{why}")
    left = sum(evidence.states.values()) - len(found)
    return found + ([f"and {left:,} more"] if left > 0 else [])
