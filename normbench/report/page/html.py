"""report.html: one file that opens from the file system, without network, for reading and for clicking."""

from __future__ import annotations

import json
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2

from normbench import __version__, environ
from normbench.errors import NormbenchError
from normbench.report import tables
from normbench.report.evidence import Evidence
from normbench.report.figures import drawn_figures
from normbench.report.figures.style import FACTOR, styles
from normbench.report.page.choices import figure_choices
from normbench.report.page.data import paired_table, run_link, run_table, states_text, unfinished_list
from normbench.report.page.networks import networks
from normbench.report.page.pictures import pictures
from normbench.report.provenance import code_notes, environments
from normbench.store import make_folder, write_atomically

WHOLE = "\n// The whole of the script.\n"
MAX_RUNS_LISTED = 20_000  # more would make the page heavier than 10 MB; results.csv has them all


def write_html(evidence: Evidence, folder: Path) -> list[Path]:
    """report.html of a study; returns its path."""
    path = folder / "report.html"
    write_atomically(path, page(evidence, run_link(evidence.store.root, folder)))
    return [path]


def page(evidence: Evidence, link: str = "") -> str:
    """The page as text. Everything that a user wrote is escaped by the template or in JSON.

    Args:
        evidence: What it is about.
        link: Address of the folder of all run folders, relative to the page; "": runs are not linked.
    """
    environment = jinja2.Environment(
        autoescape=True, loader=jinja2.PackageLoader("normbench", "report/page"), undefined=jinja2.StrictUndefined
    )
    assets = files("normbench") / "report" / "page"
    charts = drawn_figures(evidence)
    choices = figure_choices(evidence)
    return environment.get_template("page.html.jinja").render(
        evidence=evidence,
        done=not evidence.runs.empty,  # else the sections that say what came out are hidden
        version=__version__,
        style=(assets / "page.css").read_text(encoding="utf-8"),
        script=(assets / "page.js").read_text(encoding="utf-8"),
        vega=vega_bundle() if charts else "",
        comparisons=_comparisons(evidence),
        further=_further(evidence),
        paired=paired_table(evidence),
        pictures=pictures(evidence),
        networks=networks(evidence),
        cost=tables.html_table(tables.cost_grid(evidence), "cost") if len(evidence.chosen) else "",
        levels=list(zip(evidence.levels, styles(evidence.levels)[0], strict=True)),
        charts=[(name, figure) for name, figure in charts.items()],
        choices=choices,
        choices_json=_script_json({name: choice["drawn"] for name, choice in choices.items()}),
        specs=_script_json({name: figure.spec for name, figure in charts.items()}),
        runs=_script_json({**run_table(evidence, MAX_RUNS_LISTED), "link": link}),
        runs_left_out=max(0, len(evidence.runs) - MAX_RUNS_LISTED),
        configuration=[(key, json.dumps(value)) for key, value in evidence.configuration.items()],
        environment=environments(evidence),
        code_notes=code_notes(evidence.runs),
        states=states_text(evidence),
        unfinished=unfinished_list(evidence),
        field=_script_json(FACTOR),
    )


def _comparisons(evidence: Evidence) -> list[tuple[str, str, str]]:
    """The table of means in each metric, the study's own first: name, title, HTML."""
    if evidence.chosen.empty:
        grid = tables.comparison_grid(evidence)
        return [(evidence.metric.name, grid.title, tables.html_table(grid, "comparison"))]
    names = list(dict.fromkeys(evidence.comparison["metric"]))
    found = []
    for name in names:
        grid = tables.comparison_grid(evidence, name)
        identifier = "comparison" if name == evidence.metric.name else f"comparison-{name}"
        found.append((name, grid.title, tables.html_table(grid, identifier)))
    return found


def _further(evidence: Evidence) -> list[str]:
    """The contrasts, the first as `pairs`, then the tables of tuned values and of targets."""
    grids = tables.further_grids(evidence)
    first = tables.pairs_grid(evidence).title if grids else ""
    return [
        tables.html_table(grid, "pairs" if index == 0 and grid.title == first else f"further-{index}")
        for index, grid in enumerate(grids)
    ]


@cache
def vega_bundle() -> str:
    """Vega, Vega-Lite and the embedder, as one script without a request.

    To bundle them takes a second or more, so that the script is kept in the user's cache, for each version.
    """
    import vl_convert

    folder = environ.cache_folder("page")
    kept = folder / f"vega-{version('vl-convert-python')}.js" if folder else None
    with suppress(OSError, UnicodeDecodeError):
        if kept and (text := kept.read_text(encoding="utf-8")).endswith(WHOLE):
            return text
    bundle: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    text = bundle.replace("</script", "<\\/script") + WHOLE
    with suppress(OSError, NormbenchError):
        if kept:
            make_folder(kept.parent)
            write_atomically(kept, text)
    return text


def _script_json(value: Any) -> str:
    """JSON that can stand inside a script element whatever names it has in it."""
    text = json.dumps(value, separators=(",", ":"), default=str)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
