"""All claims in order, and what was found of them in one line."""

from __future__ import annotations

import pkgutil
import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from pathlib import Path

from normbench.errors import UsageError, unknown
from normbench.findings import claims
from normbench.findings.finding import Finding
from normbench.findings.results import read_result, verdict_of


@cache
def all_findings() -> dict[str, Finding]:
    """Every claim by its id, in order: A1, A2, A10, B1."""
    modules = [import_module(f"{claims.__name__}.{found.name}") for found in pkgutil.iter_modules(claims.__path__)]
    findings = {module.FINDING.id: module.FINDING for module in modules}
    return dict(sorted(findings.items(), key=lambda item: _order(item[0])))


def _order(name: str) -> tuple[str, int, str]:
    letters, number, rest = re.fullmatch(r"([A-Z]+)(\d+)(\w*)", name).groups()  # type: ignore[union-attr]
    return letters, int(number), rest


def chosen_findings(ids: Sequence[str], tier: int | None = None) -> list[Finding]:
    """The claims of these ids (all, if there are none) that are of the tier."""
    known = all_findings()
    for name in ids:
        if name not in known:
            raise UsageError(unknown("finding", name, known))
    chosen = [known[name] for name in dict.fromkeys(ids)] if ids else list(known.values())
    return [finding for finding in chosen if tier is None or finding.tier == tier]


def summary_line(reports: Path) -> str:
    """`45 claims: 28 reproduced, 6 contradicted, 0 open, 11 not run`, from the results below `reports`."""
    found = [verdict_of(finding, read_result(finding, reports)) or "not run" for finding in all_findings().values()]
    counts = Counter(found)
    words = [f"{counts[word]} {word}" for word in ("reproduced", "contradicted", "open", "not run")]
    return f"{len(found)} claims: {', '.join(words)}"
