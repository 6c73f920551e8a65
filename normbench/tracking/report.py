"""A study's W&B report: the same sections as the other reports, with panels that follow the runs at W&B."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from normbench import tables
from normbench.config import known_keys
from normbench.report.evidence import Evidence
from normbench.report.metrics import COST, get_metric
from normbench.study import describe
from normbench.tracking.mode import wandb_module

FIGURES = "figures"  # what the figures are logged under
REPORT_JOB = "report"  # job type of the W&B run that carries them
MOST_RUNS = 100


def title(evidence: Evidence) -> str:
    """The report's title, by which it is found again."""
    return f"normbench: {evidence.study.name}"


def build(evidence: Evidence, entity: str, project: str, pictures: Sequence[str]) -> Any:
    """The report, not saved. Needs no network.

    Args:
        evidence: The study's evidence.
        entity: W&B user or team that owns it.
        project: W&B project.
        pictures: Names of the figures.
    """
    wandb_module()
    import wandb_workspaces.reports.v2 as wr

    blocks = [
        *_words(evidence, wr),
        *_tables(evidence, wr, pictures),
        *_panels(evidence, wr),
        *_reproduce(evidence, wr),
    ]
    return wr.Report(
        project=project,
        entity=entity,
        title=title(evidence),
        description=evidence.study.question[:500],
        blocks=blocks,
        width="fluid",
    )


def specification(report: Any) -> str:
    """What `save` would send, as JSON."""
    model = report._to_model()
    whole = {
        "displayName": model.display_name,
        "description": model.description,
        "entity": report.entity,
        "project": report.project,
        "spec": json.loads(model.spec.model_dump_json(by_alias=True, exclude_none=True)),
    }
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


def _words(evidence: Evidence, wr: Any) -> list[Any]:
    study = evidence.study
    rows = "\n".join(f"| {name} | {_cell(value)} |" for name, value in evidence.design)
    held = "\n".join(f"| {key} | {_cell(value)} |" for key, value in evidence.configuration.items())
    skipped = "\n".join(f"- {describe(cell)}: {reason}" for cell, reason in evidence.plan.skipped)
    blocks = [
        wr.H1("Question"),
        wr.MarkdownBlock(study.question),
        wr.H1("Answer"),
        wr.MarkdownBlock(" ".join(evidence.answer)),
        wr.H1("Design"),
        wr.MarkdownBlock(f"| | |\n| --- | --- |\n{rows}"),
        wr.MarkdownBlock(f"{study.notes}\n\n| what all runs share | |\n| --- | --- |\n{held}"),
    ]
    return [*blocks, wr.MarkdownBlock(f"Not run:\n\n{skipped}")] if skipped else blocks


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")


def _tables(evidence: Evidence, wr: Any, names: Sequence[str]) -> list[Any]:
    blocks = [
        wr.H1("Results"),
        wr.MarkdownBlock(tables.markdown(tables.comparison_grid(evidence))),
        wr.MarkdownBlock(tables.markdown(tables.pairs_grid(evidence))),
    ]
    if names:
        pictures = wr.Runset(name=f"{evidence.study.name}, figures", filters=_filter(evidence, "=="))
        panels = [
            wr.MediaBrowser(title=name, media_keys=[f"{FIGURES}/{name}"], num_columns=1, layout=_place(wr, i, 12, 12))
            for i, name in enumerate(names)
        ]
        blocks += [wr.H1("Figures"), wr.PanelGrid(runsets=[pictures], panels=panels)]
    return blocks


def _filter(evidence: Evidence, sign: str) -> str:
    return f"Metric('Group') == '{evidence.study.name}' and Metric('JobType') {sign} '{REPORT_JOB}'"


def _place(wr: Any, index: int, width: int = 12, height: int = 8) -> Any:
    """Panels in rows; a grid is 24 wide."""
    across = 24 // width
    return wr.Layout(x=index % across * width, y=index // across * height, w=width, h=height)


def config_key(evidence: Evidence, axis: str) -> str:
    """The key of a run's configuration that stands for an axis; an axis with a name of its own sets several."""
    if axis in known_keys():
        return axis
    return next((key for level in evidence.study.axes[axis] for key in level.changes), axis)


def _panels(evidence: Evidence, wr: Any) -> list[Any]:
    compare, metric = evidence.study.compare, evidence.metric
    factor = wr.Config(config_key(evidence, compare.factor))
    runs = wr.Runset(name=evidence.study.name, filters=_filter(evidence, "!="))
    grouped: dict[str, Any] = {
        "groupby": factor,
        "groupby_aggfunc": "mean",
        "groupby_rangefunc": "minmax",
        "max_runs_to_show": MOST_RUNS,
    }
    curves = [
        ("train/loss", "samples", "training loss (nats)"),
        ("train/loss", "seconds", "training loss (nats)"),
        ("validation/accuracy", "samples", "validation accuracy"),
        ("validation/nll", "samples", "validation negative log-likelihood (nats)"),
    ]
    lines = [
        wr.LinePlot(title=f"{label} against {x}", x=x, y=[y], title_x=x, layout=_place(wr, index), **grouped)
        for index, (y, x, label) in enumerate(curves)
    ]
    found = _summary(wr, metric.name)
    others = [wr.Config(config_key(evidence, axis)) for axis in compare.across]
    against = others[-1] if others else wr.Config("data.batch_size")
    compared = [
        wr.BarPlot(title=f"{metric.label}, mean of all runs", metrics=[found], layout=_place(wr, 0), **grouped),
        wr.ScatterPlot(title=f"{metric.label} against {against.name}", x=against, y=found, layout=_place(wr, 1)),
        wr.ParallelCoordinatesPlot(
            title="all axes", columns=_columns(wr, [*others, factor], found, metric.label), layout=_place(wr, 1, 24)
        ),
    ]
    cost = [
        wr.BarPlot(title=get.title, metrics=[wr.SummaryMetric(get.name)], layout=_place(wr, i), **grouped)
        for i, get in enumerate(map(get_metric, COST))
    ]
    return [
        wr.H1("Curves"),
        wr.MarkdownBlock(
            "Lines are means over the runs of a level, bands from the lowest to the highest of them. The intervals and "
            "tests of the study are in the tables above; W&B's own bands are none."
        ),
        wr.PanelGrid(runsets=[runs], panels=lines),
        wr.H1("Runs compared"),
        wr.PanelGrid(runsets=[runs], panels=compared),
        wr.PanelGrid(runsets=[runs], panels=[wr.RunComparer(diff_only="split", layout=_place(wr, 0, 24, 14))]),
        wr.H1("Cost"),
        wr.MarkdownBlock(tables.markdown(tables.cost_grid(evidence))),
        wr.PanelGrid(runsets=[runs], panels=cost),
    ]


def _summary(wr: Any, name: str) -> Any:
    """A column of the results table, in the summary that result.json became."""
    top = {"seconds", "samples_per_second", "wall_seconds", "parameters"}
    return wr.SummaryMetric(name if name in top else f"metrics.{name}")


def _columns(wr: Any, axes: list[Any], found: Any, label: str) -> list[Any]:
    column = wr.ParallelCoordinatesPlotColumn
    seed = column(metric=wr.Config("seed"), display_name="seed")
    named = [column(metric=axis, display_name=axis.name.rpartition(".")[2]) for axis in axes]
    return [*named, seed, column(metric=found, display_name=label)]


def _reproduce(evidence: Evidence, wr: Any) -> list[Any]:
    name = evidence.study.name
    commits = ", ".join(sorted({str(commit) for commit in evidence.runs["git_commit"].dropna()})) or "none yet"
    text = (
        f"Code: {commits}. `normbench run {name}` trains what is missing, `normbench report {name}` writes tables and "
        f"figures, `normbench wandb push {name}` and `normbench wandb report {name}` bring them here."
    )
    return [
        wr.H1("How to reproduce"),
        wr.MarkdownBlock(text),
        wr.CodeBlock(Path(evidence.study.path).read_text(encoding="utf-8"), language="yaml"),
    ]
