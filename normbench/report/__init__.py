"""What a study comes to: tables, figures and pages under reports/<study>/."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from normbench.report.evidence import Evidence, gather
from normbench.runs import make_folder, unwritable, write_atomically

__all__ = ["Evidence", "gather", "write_figures", "write_report", "write_tables"]


def write_tables(evidence: Evidence, folder: Path) -> list[Path]:
    """results.csv, comparison.csv, comparison.md and comparison.tex; returns their paths."""
    from normbench import tables

    grids = [tables.comparison_grid(evidence), tables.pairs_grid(evidence), tables.cost_grid(evidence)]
    heading = f"## {evidence.study.name}\n\n{evidence.study.question}\n\n" + " ".join(evidence.answer) + "\n\n"
    texts = {
        "results.csv": evidence.runs.to_csv(index=False),
        "comparison.csv": tables.tidy(evidence).to_csv(index=False),
        "comparison.md": heading + "\n".join(map(tables.markdown, grids)),
        "comparison.tex": "\n".join(map(tables.latex, grids)),
    }
    for name, text in texts.items():
        write_atomically(folder / name, text)
    return [folder / name for name in texts]


def write_figures(evidence: Evidence, folder: Path) -> list[Path]:
    """Every figure as SVG and PNG under figures/; returns their paths."""
    from normbench.plots import figures

    target = folder / "figures"
    make_folder(target)
    paths = []
    charts = figures(evidence)
    for old in target.iterdir():  # a figure of an earlier version of the study would look like one of this
        if old.suffix in {".svg", ".png"} and old.stem not in charts:
            old.unlink()
    for name, chart in charts.items():
        for suffix in ("svg", "png"):
            path = target / f"{name}.{suffix}"
            try:
                chart.save(path, **({"scale_factor": 2} if suffix == "png" else {}))  # type: ignore[attr-defined]
            except OSError as error:
                raise unwritable(path, error) from None
            paths.append(path)
    return paths


def write_page(evidence: Evidence, folder: Path) -> list[Path]:
    """report.html; returns its path."""
    from normbench.report.html import write_html

    return write_html(evidence, folder)


PARTS: dict[str, Callable[[Evidence, Path], list[Path]]] = {
    "tables": write_tables,
    "figures": write_figures,
    "page": write_page,
}


def write_report(study: str | Path, runs: Path, reports: Path, parts: tuple[str, ...] = tuple(PARTS)) -> list[Path]:
    """Writes the parts of a study's report, finished or not, and returns the paths of its files."""
    evidence = gather(study, runs)
    folder = reports / evidence.study.name
    make_folder(folder)
    return [path for part in parts for path in PARTS[part](evidence, folder)]
