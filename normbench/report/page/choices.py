"""Figures in other metrics, and with another axis swept, which the page lets a reader choose."""

from __future__ import annotations

from typing import Any

from normbench.report.evidence import Evidence
from normbench.report.figures import BY_AXIS, BY_METRIC, Drawn, drawn_by, drawn_figures
from normbench.report.figures.style import shown_title
from normbench.report.tables import csv_text
from normbench.study.metrics import COST, METRICS

MOST_RUNS = 2000  # runs from which a page would grow heavy with figures that few look at


def figure_choices(evidence: Evidence) -> dict[str, dict[str, Any]]:
    """What can be chosen of each figure that leaves a choice, by the figure's name.

    Returns:
        `metrics` and `axes`: titles, those of the figure itself first; `drawn`: for each metric and axis its
        specification, texts and CSV, or None where there is nothing to draw, and for the figure itself.
    """
    if evidence.chosen.empty or len(evidence.chosen) > MOST_RUNS:
        return {}
    measured = evidence.comparison.dropna(subset=["mean"])["metric"].unique()
    metrics = [evidence.metric, *(METRICS[name] for name in measured if name not in (*COST, evidence.metric.name))]
    swept = list(reversed(evidence.study.compare.across))
    asked: dict[tuple[int, int], Evidence] = {}
    found = {}
    for name, figure in drawn_figures(evidence).items():
        if figure.draw not in BY_METRIC or evidence.metric.name in COST:
            continue
        axes = swept if figure.draw in BY_AXIS else swept[:1]
        drawn: list[list[dict[str, Any] | None]] = []
        for m, metric in enumerate(metrics):
            drawn.append([])
            for a in range(max(1, len(axes))):
                if (m, a) not in asked:
                    asked[m, a] = evidence.asking(metric, axes[a] if axes else None)
                drawn[m].append(None if m == a == 0 else _parts(drawn_by(asked[m, a], figure.draw)))
        if len(metrics) > 1 or len(axes) > 1:
            titles = [shown_title(evidence, evidence.columns[axis]) for axis in axes]
            found[name] = {"metrics": [metric.label for metric in metrics], "axes": titles, "drawn": drawn}
    return found


def _parts(figure: Drawn | None) -> dict[str, Any] | None:
    if figure is None:
        return None
    return {"spec": figure.spec, "alt": figure.alt, "caption": figure.caption, "csv": csv_text(figure.data)}
