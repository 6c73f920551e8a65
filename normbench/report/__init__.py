"""What a study comes to: tables, figures and pages under reports/<study>/."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from normbench.report.evidence import Evidence, gather
from normbench.store.folder import make_folder, unwritable, write_atomically
from normbench.store.table import column

__all__ = ["Evidence", "gather", "watch_report", "write_figures", "write_report", "write_tables"]


def write_tables(evidence: Evidence, folder: Path) -> list[Path]:
    """results.csv, comparison.csv, .md and .tex, and study.json; returns their paths."""
    from normbench.report import tables
    from normbench.report.analyses import analysis_grids

    grids = [tables.comparison_grid(evidence), tables.pairs_grid(evidence)]
    grids += [*analysis_grids(evidence), tables.cost_grid(evidence)]
    grids = [grid for grid in grids if grid.rows]
    texts = {
        "results.csv": evidence.runs.to_csv(index=False),
        "comparison.csv": tables.tidy(evidence).to_csv(index=False),
        "comparison.md": tables.markdown_heading(evidence) + "\n".join(map(tables.markdown, grids)),
        "comparison.tex": "\n".join(map(tables.latex, grids)),
        FACTS: json.dumps(_facts(evidence), indent=2) + "\n",
    }
    for name, text in texts.items():
        write_atomically(folder / name, text)
    return [folder / name for name in texts]


def _facts(evidence: Evidence) -> dict[str, Any]:
    """What `normbench compare` needs to know of a results table."""
    compare = evidence.study.compare
    axes = [column(axis) for axis in evidence.study.axes]
    return {
        "study": evidence.study.name,
        "question": evidence.study.question,
        "axes": axes,
        "metric": compare.metric,
        "margin": compare.margin,
        "configuration": evidence.configuration,
    }


def write_figures(evidence: Evidence, folder: Path) -> list[Path]:
    """Every figure as SVG and PNG under figures/; returns their paths."""
    import vl_convert

    from normbench.report.figures.charts import specifications

    target = folder / "figures"
    make_folder(target)
    paths = []
    charts = specifications(evidence)
    for old in target.iterdir():  # a figure of an earlier version of the study would look like one of this
        if old.suffix in {".svg", ".png"} and old.stem not in charts:
            old.unlink()
    for name, chart in charts.items():
        svg = vl_convert.vegalite_to_svg(chart)
        for suffix, image in (("svg", svg.encode()), ("png", vl_convert.svg_to_png(svg, scale=2))):
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


FACTS = "study.json"
WATCH_SECONDS = 20.0
PARTS: dict[str, Callable[[Evidence, Path], list[Path]]] = {
    "tables": write_tables,
    "figures": write_figures,
    "page": write_page,
}


def write_report(study: str | Path, runs: Path, reports: Path, parts: tuple[str, ...] = tuple(PARTS)) -> list[Path]:
    """Writes the parts of a study's report, finished or not, and returns the paths of its files."""
    return _write(gather(study, runs), reports, parts)


def _write(evidence: Evidence, reports: Path, parts: tuple[str, ...] = tuple(PARTS)) -> list[Path]:
    folder = reports / evidence.study.name
    make_folder(folder)
    return [path for part in parts for path in PARTS[part](evidence, folder)]


def watch_report(study: str | Path, runs: Path, reports: Path, every: float = WATCH_SECONDS) -> Iterator[str]:
    """Writes the report whenever a run was finished or failed since, until all are; yields a line for each writing."""
    told = None
    while True:
        evidence = gather(study, runs)
        planned, left = len(evidence.plan.runs), evidence.unfinished
        failed = sum(run["state"] == "failed" for run in left)
        if (planned - len(left), failed) != told:
            told = planned - len(left), failed
            paths = _write(evidence, reports)
            yield f"{told[0]} of {planned} runs{f', {failed} failed' if failed else ''}: {paths[-1]}"
        if failed == len(left):
            return
        time.sleep(every)
