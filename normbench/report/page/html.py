"""report.html: one file that opens from the file system, without network, for reading and for clicking."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from normbench import __version__
from normbench.report import tables
from normbench.report.analyses import analysis_grids
from normbench.report.evidence import Evidence
from normbench.report.figures.charts import specifications
from normbench.store.folder import RESULT, write_atomically

MAX_RUNS_LISTED = 20_000  # more would make the page heavier than 10 MB; results.csv has them all

ALT_TEXTS = {
    "differences": "Forest plot: paired differences from {baseline} with 95 % intervals; the table has the numbers.",
    "cost": "Scatter plot: {metric} against training time, a point a cell; the cost table has the numbers.",
}


def write_html(evidence: Evidence, folder: Path) -> list[Path]:
    """report.html of a study; returns its path."""
    path = folder / "report.html"
    write_atomically(path, page(evidence))
    return [path]


def page(evidence: Evidence) -> str:
    """The page as text. Everything that a user wrote is escaped by the template or in JSON."""
    environment = jinja2.Environment(
        autoescape=True, loader=jinja2.PackageLoader("normbench", "report/page"), undefined=jinja2.StrictUndefined
    )
    assets = files("normbench") / "report" / "page"
    charts = specifications(evidence)
    return environment.get_template("page.html.jinja").render(
        evidence=evidence,
        version=__version__,
        style=(assets / "page.css").read_text(encoding="utf-8"),
        script=(assets / "page.js").read_text(encoding="utf-8"),
        vega=vega_bundle() if charts else "",
        comparison=tables.html_table(tables.comparison_grid(evidence), "comparison"),
        pairs=tables.html_table(tables.pairs_grid(evidence), "pairs") if len(evidence.pairs) else "",
        analyses=[tables.html_table(grid, f"analysis-{index}") for index, grid in enumerate(analysis_grids(evidence))],
        cost=tables.html_table(tables.cost_grid(evidence), "cost") if len(evidence.chosen) else "",
        charts=[(name, _caption(name), _alt(name, evidence)) for name in charts],
        specs=_script_json(charts),
        runs=_script_json(run_table(evidence)),
        runs_left_out=max(0, len(evidence.runs) - MAX_RUNS_LISTED),
        configuration=[(key, json.dumps(value)) for key, value in evidence.configuration.items()],
        environment=environments(evidence),
    )


@cache
def vega_bundle() -> str:
    """Vega, Vega-Lite and the embedder, as one script without a request."""
    import vl_convert

    bundle: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return bundle.replace("</script", "<\\/script")


def _script_json(value: Any) -> str:
    """JSON that can stand inside a script element whatever names it has in it."""
    text = json.dumps(value, separators=(",", ":"), default=str)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _caption(name: str) -> str:
    return name.replace("_", " ")


def _alt(name: str, evidence: Evidence) -> str:
    text = ALT_TEXTS.get(name, "Chart: {name}, by {factor}; the tables have the numbers.")
    return text.format(
        name=_caption(name), factor=evidence.factor, baseline=evidence.baseline, metric=evidence.metric.label
    )


def run_table(evidence: Evidence) -> dict[str, Any]:
    """Every run: the axes, seed and main figures, for the table that sorts and filters."""
    axes = [evidence.factor, *evidence.across, *([evidence.tuned] if evidence.tuned else [])]
    wanted = [
        "run_id",
        *axes,
        "seed",
        "dataset",
        evidence.metric.name,
        "test_nll",
        "train_loss",
        "lr",
        "steps",
        "samples",
    ]
    wanted += ["images_per_statistic", "seconds", "diverged_at_step", "git_commit"]
    columns = list(dict.fromkeys(wanted))
    frame = evidence.runs[columns].head(MAX_RUNS_LISTED)
    rows = frame.astype(object).where(frame.notna(), None).to_dict("split")["data"]
    return {"columns": columns, "rows": [[_short(value) for value in row] for row in rows]}


def _short(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, float) else value


def environments(evidence: Evidence) -> list[tuple[str, str]]:
    """What the runs were made with: every distinct value of each fact."""
    facts: dict[str, set[str]] = {}
    # Finished runs of one study mostly share their environment: a sample of result files tells it, and the commits
    # and devices of all runs stand in the results table.
    for run_id in evidence.runs["run_id"].head(50):
        result = json.loads((evidence.folder / run_id / RESULT).read_text(encoding="utf-8"))
        for key, value in result["environment"].items():
            facts.setdefault(key, set()).add(str(value))
        facts.setdefault("MD5 of the data files", set()).add(
            ", ".join(f"{name} {md5}" for name, md5 in result["dataset"]["md5"].items())
        )
    for key in ("git_commit", "device"):
        if len(evidence.runs):
            facts[key] = {str(value) for value in pd.unique(evidence.runs[key])}
    return [(key, "; ".join(sorted(values))) for key, values in facts.items()]
