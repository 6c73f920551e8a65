"""What a study comes to: tables, figures and pages under reports/<study>/.

evidence.py     what the runs gave, in data frames        answer.py   the same in sentences
contrasts.py    what is compared with what                tables/     CSV, Markdown, LaTeX, HTML
comparison.py   summaries and estimates                   figures/    one file a figure
provenance.py   what the runs were made with              page/       report.html
cost.py         what `normbench cost` measured       files.py    SVG, PNG and CSV of the figures
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from normbench.errors import UsageError
from normbench.report.collection import gather
from normbench.report.cost import read_cost
from normbench.report.evidence import Evidence
from normbench.spec.counts import image_facts
from normbench.store import Store, make_folder, write_atomically
from normbench.study import Study

__all__ = ["PARTS", "Evidence", "gather", "watch_report", "write_figures", "write_report", "write_tables"]

FACTS = "study.json"


def write_tables(evidence: Evidence, folder: Path) -> list[Path]:
    """results.csv, comparison.csv, .md and .tex, contrasts.csv, pairs.csv, and study.json; returns their paths."""
    from normbench.report import tables

    grids = tables.all_grids(evidence)
    texts = {
        "results.csv": tables.csv_text(evidence.runs),
        "comparison.csv": tables.csv_text(tables.tidy(evidence)),
        "contrasts.csv": tables.csv_text(tables.contrasts_csv(evidence)),
        "pairs.csv": tables.csv_text(tables.paired_seeds(evidence)),
        "comparison.md": tables.markdown_heading(evidence) + "\n".join(map(tables.markdown, grids)),
        "comparison.tex": "\n".join(map(tables.latex, grids)),
        FACTS: json.dumps(_facts(evidence), indent=2) + "\n",
    }
    for name, text in texts.items():
        write_atomically(folder / name, text)
    return [folder / name for name in texts]


def _facts(evidence: Evidence) -> dict[str, Any]:
    """What `normbench compare` needs to know of a results table."""
    compare, axes = evidence.study.compare, list(evidence.columns.values())
    if evidence.two_data_sets and "dataset" not in axes:
        axes.insert(0, "dataset")
    return {
        "study": evidence.study.name,
        "question": evidence.study.question,
        "axes": axes,
        "metric": compare.metric,
        "margin": compare.margin,
        "configuration": evidence.configuration,
    }


def write_figures(evidence: Evidence, folder: Path) -> list[Path]:
    """Every figure as SVG, PNG and the CSV of what it shows, under figures/; returns their paths."""
    from normbench.report.files import FigureFiles

    return FigureFiles(evidence, folder).finish()


def write_page(evidence: Evidence, folder: Path) -> list[Path]:
    """report.html; returns its path."""
    from normbench.report.page.html import write_html

    return write_html(evidence, folder)


def check_class(evidence: Evidence) -> None:
    """Raises UsageError where the page is to show an image of a class that a data set of the study has not."""
    if evidence.maps_of is None:
        return
    least = min(image_facts(data).classes for data in evidence.plan.data_sets)
    if not 0 <= evidence.maps_of < least:
        raise UsageError(f"--maps {evidence.maps_of}: the classes are 0 to {least - 1}")


PARTS: dict[str, Callable[[Evidence, Path], list[Path]]] = {
    "tables": write_tables,
    "figures": write_figures,
    "page": write_page,
}


def write_report(
    study: str | Path | Study,
    store: Store | Path,
    reports: Path,
    parts: tuple[str, ...] = tuple(PARTS),
    maps_of: int | None = None,
) -> list[Path]:
    """Writes the parts of a study's report, finished or not, and returns the paths of its files.

    Args:
        study: A study, its file, or its name in experiments/.
        store: The store of its runs, or the store's root.
        reports: Folder of all reports.
        parts: Names of PARTS.
        maps_of: Class of the test image of which feature maps are shown, where runs kept their weights; None: the
            first test image. A class that the data have not raises UsageError.
    """
    return write_evidence(replace(gather(study, store), maps_of=maps_of), reports, parts)


def write_evidence(evidence: Evidence, reports: Path, parts: tuple[str, ...] = tuple(PARTS)) -> list[Path]:
    """Writes the parts of a report of what was gathered, and returns the paths of its files."""
    check_class(evidence)
    folder = reports / evidence.study.name
    make_folder(folder)
    evidence = replace(evidence, measured_cost=read_cost(folder))
    figures = None
    if "figures" in parts:  # first, since they are drawn beside while the others are written
        from normbench.report.files import FigureFiles

        figures = FigureFiles(evidence, folder)
    paths = {part: PARTS[part](evidence, folder) for part in parts if part != "figures"}
    if figures is not None:
        paths["figures"] = figures.finish()
    return [path for part in parts for path in paths[part]]


from normbench.report.watch import watch_report  # noqa: E402  (it writes what is defined above)
