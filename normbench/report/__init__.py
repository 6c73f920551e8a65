"""What a study comes to: tables, figures and pages under reports/<study>/.

evidence.py     what the runs gave, in data frames        answer.py   the same in sentences
contrasts.py    what is compared with what                tables/     CSV, Markdown, LaTeX, HTML
comparison.py   summaries and estimates                   figures/    one file a figure
provenance.py   what the runs were made with              page/       report.html
cost.py         what `normbench cost` measured
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from normbench.report.cost import read_cost
from normbench.report.evidence import Evidence
from normbench.report.gather import gather
from normbench.store import Store, make_folder, unwritable, write_atomically
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
    import vl_convert

    from normbench.report.figures import drawn_figures
    from normbench.report.figures.style import still
    from normbench.report.tables import csv_text

    target = folder / "figures"
    make_folder(target)
    paths = []
    drawn = drawn_figures(evidence)
    for old in target.iterdir():  # a figure of an earlier version of the study would look like one of this
        if old.suffix in {".svg", ".png", ".csv"} and old.stem not in drawn:
            old.unlink()
    for name, figure in drawn.items():
        svg = vl_convert.vegalite_to_svg(still(figure.spec))
        images = {"svg": svg.encode(), "png": vl_convert.svg_to_png(svg, scale=2)}
        images["csv"] = csv_text(figure.data).encode()
        for suffix, image in images.items():
            path = target / f"{name}.{suffix}"
            try:
                path.write_bytes(image)
            except OSError as error:
                raise unwritable(path, error) from None
            paths.append(path)
    return paths


def write_page(evidence: Evidence, folder: Path) -> list[Path]:
    """report.html; returns its path."""
    from normbench.report.page.html import write_html

    return write_html(evidence, folder)


PARTS: dict[str, Callable[[Evidence, Path], list[Path]]] = {
    "tables": write_tables,
    "figures": write_figures,
    "page": write_page,
}


def write_report(
    study: str | Path | Study, store: Store | Path, reports: Path, parts: tuple[str, ...] = tuple(PARTS)
) -> list[Path]:
    """Writes the parts of a study's report, finished or not, and returns the paths of its files."""
    return write_evidence(gather(study, store), reports, parts)


def write_evidence(evidence: Evidence, reports: Path, parts: tuple[str, ...] = tuple(PARTS)) -> list[Path]:
    """Writes the parts of a report of what was gathered, and returns the paths of its files."""
    folder = reports / evidence.study.name
    make_folder(folder)
    evidence = replace(evidence, measured_cost=read_cost(folder))
    return [path for part in parts for path in PARTS[part](evidence, folder)]


from normbench.report.watch import watch_report  # noqa: E402  (it writes what is defined above)
