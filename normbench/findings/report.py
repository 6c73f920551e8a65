"""reports/findings/: findings.csv, findings.md, index.html, a page for each claim and a figure of all, from the stored
results."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from normbench.findings.catalogue import all_findings, summary_line
from normbench.findings.figures import drawn_figures
from normbench.findings.finding import Bound, Finding, Quantity
from normbench.findings.results import FOLDER, Result, read_result, verdict_of
from normbench.findings.summary import summary_svg
from normbench.store import make_folder, write_atomically

if TYPE_CHECKING:
    import pandas as pd

NOT_RUN = "not run"
COLUMNS = (
    "id",
    "part",
    "claim",
    "source",
    "published",
    "measured",
    "ci_low",
    "ci_high",
    "n",
    "criterion",
    "part_verdict",
    "verdict",
    "command",
)


@dataclass(frozen=True)
class Row:
    """A claim with what was found of it.

    Args:
        finding: The claim.
        result: What is stored; None: nothing.
    """

    finding: Finding
    result: Result | None

    @property
    def verdict(self) -> str:
        """The verdict, or "not run"."""
        return verdict_of(self.finding, self.result) or NOT_RUN

    @property
    def verdict_text(self) -> str:
        """The verdict; an open one with the seeds that would decide it."""
        if self.verdict != "open" or self.result is None:
            return self.verdict
        if any(found and math.isnan(found.low) for _, found in self.parts):
            return "open (a quantity has no interval)"
        seeds = self.finding.seeds(self.result.quantities)
        return f"open ({f'about {seeds} seeds would decide' if seeds else 'more than 1,000 seeds would be needed'})"

    @property
    def published(self) -> str:
        """What was published, each with its source."""
        return "; ".join(
            f"{p.value} ({p.source}{'' if p.verified else '; quoted from memory, not verified'})"
            for p in self.finding.published
        )

    def quantity(self, bound: Bound) -> Quantity | None:
        """The measured quantity of a part of the criterion; None where the claim was not run."""
        return self.result.quantities[bound.quantity] if self.result and self.verdict != NOT_RUN else None

    @property
    def parts(self) -> list[tuple[Bound, Quantity | None]]:
        """The parts of the criterion with what was measured."""
        return [(bound, self.quantity(bound)) for bound in self.finding.criterion]

    @property
    def places(self) -> dict[str, list[str]]:
        """Where a claim of several parts holds, where it does not, and where it is open; empty for other claims."""
        found: dict[str, list[str]] = {}
        for word, verdict in {"holds": "reproduced", "does not hold": "contradicted", "open": "open"}.items():
            named = [bound.place for bound, q in self.parts if q and bound.verdict(q) == verdict]
            if named:
                found[word] = named
        return found if len(self.parts) > 1 else {}

    @property
    def others(self) -> dict[str, Quantity]:
        """Quantities that are shown and decide nothing."""
        names = {bound.quantity for bound in self.finding.criterion}
        if self.result is None or self.verdict == NOT_RUN:
            return {}
        return {name: found for name, found in self.result.quantities.items() if name not in names}

    @property
    def measured(self) -> str:
        """The measured quantities of the criterion in a line."""
        return "; ".join(f"{bound.quantity}: {shown(found)}" for bound, found in self.parts if found)


def shown(found: Quantity) -> str:
    """`1.21 (1.2 to 1.22, 10 seeds)`; a computed number alone; `none` where there is none."""
    number = "none" if math.isnan(found.value) else f"{found.value:.4g}"
    if found.n == 1:
        return number
    if math.isnan(found.low):
        return f"{number} (no interval, {found.n} seeds)"
    return f"{number} ({found.low:.4g} to {found.high:.4g}, {found.n} seeds)"


def rows_of(reports: Path) -> list[Row]:
    """Every claim with its stored result."""
    return [Row(finding, read_result(finding, reports)) for finding in all_findings().values()]


def table(rows: Sequence[Row]) -> pd.DataFrame:
    """findings.csv: a row for each part of each criterion."""
    import pandas as pd

    lines: list[dict[str, Any]] = []
    for row in rows:
        for part, (bound, found) in enumerate(row.parts, 1):
            lines.append(
                {
                    "id": row.finding.id,
                    "part": part,
                    "claim": row.finding.claim,
                    "source": row.finding.cite,
                    "published": row.published,
                    "measured": found.value if found else None,
                    "ci_low": found.low if found else None,
                    "ci_high": found.high if found else None,
                    "n": found.n if found else None,
                    "criterion": bound.text,
                    "part_verdict": bound.verdict(found) if found else NOT_RUN,
                    "verdict": row.verdict,
                    "command": row.finding.command,
                }
            )
    return pd.DataFrame(lines, columns=list(COLUMNS)).astype({"n": "Int64"})


def write_report(reports: Path) -> list[Path]:
    """Writes the report of all claims and returns the paths of its files."""
    from normbench.report.tables import csv_text

    folder, rows = reports / FOLDER, rows_of(reports)
    make_folder(folder / "figures")
    texts = {"findings.csv": csv_text(table(rows)), "findings.md": _markdown(rows, reports)}
    texts["index.html"] = _page("index.html.jinja", rows=rows, summary=summary_line(reports))
    for row in rows:
        name = f"{row.finding.id}.html"
        drawn = drawn_figures(row.finding, row.result) if row.result and row.verdict != NOT_RUN else []
        texts |= {figure.file: figure.svg for figure in drawn}
        texts[name] = _page("finding.html.jinja", row=row, figures=drawn, shown=shown)
    texts["figures/summary.svg"] = summary_svg({row.finding.id: row.verdict for row in rows})
    for name, text in texts.items():
        write_atomically(folder / name, text)
    return [folder / name for name in texts]


def _markdown(rows: Sequence[Row], reports: Path) -> str:
    from normbench.report.tables import Cell, Grid, markdown

    grid = Grid(
        f"Findings: {summary_line(reports)}",
        ["claim", "source", "published", "measured", "verdict"],
        [
            (
                row.finding.id,
                [Cell(t) for t in (row.finding.claim, row.finding.cite, row.published, row.measured, row.verdict_text)],
            )
            for row in rows
        ],
        "Each criterion was committed before its result. Reproduced: every measured interval lies within its bounds; "
        "contradicted: one lies outside; open: neither. normbench findings run ID repeats a row; the page of each "
        "claim has its criterion, and how the setting differs from the source's.",
        words=("claim", "source", "published", "measured", "verdict"),
    )
    return markdown(grid)


def _page(template: str, **values: Any) -> str:
    import jinja2

    environment = jinja2.Environment(
        autoescape=True,
        loader=jinja2.PackageLoader("normbench", "findings/page"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**values) + "\n"
