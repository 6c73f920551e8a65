"""A study's W&B report: the same sections as the other reports, with panels that follow the runs at W&B."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from normbench.privacy import without_paths, without_places
from normbench.report import tables
from normbench.report.evidence import Evidence
from normbench.report.provenance import code_notes, environments
from normbench.study import describe
from normbench.study.file import asked_as
from normbench.study.metrics import COST, Metric, get_metric
from normbench.tracking.client import require, wandb_module
from normbench.tracking.disputes import disputes_text
from normbench.tracking.identity import AXES, REPORT_JOB, axis_names, study_tag

FIGURES = "figures"  # what the figures are logged under
MOST_RUNS = 100
TOP_OF_RESULT = frozenset({"seconds", "samples_per_second", "wall_seconds", "parameters"})
MEDIA = ("media/misclassified", "media/confusion_matrix")  # of the test images, where the logger is asked for them
CURVES = (
    ("train/loss", "samples"),
    ("train/loss", "seconds"),
    ("validation/accuracy", "samples"),
    ("validation/nll", "samples"),
)


def title(evidence: Evidence) -> str:
    """The report's title, by which it is found again."""
    return f"normbench: {evidence.study.name}"


def build(evidence: Evidence, entity: str, project: str, pictures: Sequence[str]) -> Any:
    """The report, not saved: the sections of report.html, with panels. Needs no network.

    Args:
        evidence: The study's evidence.
        entity: W&B user or team that owns it.
        project: W&B project.
        pictures: Names of the figures.
    """
    wandb_module()
    require("wandb_workspaces")
    import wandb_workspaces.reports.v2 as wr

    sections = (_answer, _design, _tables, _figures, _images, _cost, _runs, _environment, _reproduce)
    made_from = Sections(evidence, wr, pictures)
    blocks = [block for section in sections for block in section(made_from)]
    return wr.Report(
        project=project,
        entity=entity,
        title=title(evidence),
        description=without_paths(evidence.study.question)[:500],
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
    return json.dumps(whole, indent=2, ensure_ascii=True) + "\n"


class Sections:
    """What every section is made from.

    Args:
        evidence: The study's evidence.
        wr: The module of wandb-workspaces that holds blocks and panels.
        pictures: Names of the figures.
    """

    def __init__(self, evidence: Evidence, wr: Any, pictures: Sequence[str]) -> None:
        self.evidence, self.wr, self.pictures = evidence, wr, pictures
        compare = evidence.study.compare
        self.factor = wr.Config(config_key(evidence, compare.factor))
        self.others = [wr.Config(config_key(evidence, axis)) for axis in compare.across]

    def text(self, text: str) -> Any:
        """A block of Markdown."""
        return self.wr.MarkdownBlock(text)

    def grid(self, panels: list[Any], pictures: bool = False) -> Any:
        """Panels over the study's runs, or over the run that carries its pictures."""
        name, sign = self.evidence.study.name, "==" if pictures else "!="
        # By tag: a run that several studies use is in one group only.
        chosen = f"Tags() in ['{study_tag(name)}'] and Metric('JobType') {sign} '{REPORT_JOB}'"
        runs = self.wr.Runset(name=f"{name}, figures" if pictures else name, filters=chosen)
        return self.wr.PanelGrid(runsets=[runs], panels=panels)

    def place(self, index: int, width: int = 12, height: int = 8) -> Any:
        """Panels in rows; a grid is 24 wide."""
        across = 24 // width
        return self.wr.Layout(x=index % across * width, y=index // across * height, w=width, h=height)

    def grouped(self) -> dict[str, Any]:
        """Options of a panel that averages the runs of a level. W&B's bands are ranges, not intervals."""
        return {
            "groupby": self.factor,
            "groupby_aggfunc": "mean",
            "groupby_rangefunc": "minmax",
            "max_runs_to_show": MOST_RUNS,
        }

    def bar(self, metric: Metric, index: int) -> Any:
        """Bars of a column of the results table, a bar a level."""
        heading = f"{metric.title}, mean of the runs of a level"
        return self.wr.BarPlot(
            title=heading, metrics=[self.summary(metric.name)], layout=self.place(index), **self.grouped()
        )

    def summary(self, name: str) -> Any:
        """A column of the results table, in the summary that result.json became."""
        return self.wr.SummaryMetric(name if name in TOP_OF_RESULT else f"metrics.{name}")


def config_key(evidence: Evidence, axis: str) -> str:
    """The key of a run's configuration that holds its label on an axis.

    That of the axis itself where it is an ordinary key, which all runs at W&B have; else that of the study's labels: a
    level of a grouped axis sets several keys, and none of them need tell it from the others.
    """
    levels = evidence.study.axes[axis]
    if all(dict(level.changes) == {axis: level.label} for level in levels):
        return axis
    return f"{AXES}.{evidence.study.name}.{axis_names(list(evidence.study.axes))[axis]}"


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")


def _table(rows: Iterable[tuple[str, object]]) -> str:
    """Names and values as a Markdown table."""
    lines = [f"| {name} | {_cell(value)} |" for name, value in rows]
    return "\n".join(["| | |", "| --- | --- |", *lines])


def _answer(s: Sections) -> list[Any]:
    return [
        s.wr.H1("Question"),
        s.text(without_paths(s.evidence.study.question)),
        s.wr.H1("Answer"),
        s.text("\n\n".join([" ".join(s.evidence.answer), *code_notes(s.evidence.runs)])),
    ]


def _design(s: Sections) -> list[Any]:
    evidence, plan = s.evidence, s.evidence.plan
    blocks = [s.wr.H1("Design"), s.text(_table(evidence.design))]
    if evidence.study.notes:
        blocks.insert(1, s.text(without_paths(evidence.study.notes)))
    if plan.skipped:
        skipped = "\n".join(f"- {describe(cell)}: {reason}" for cell, reason in plan.skipped)
        blocks.append(s.text(f"Skipped:\n\n{skipped}"))
    if left := sum(evidence.states.values()):
        blocks.append(s.text(f"{left} of {len(evidence.asked)} runs are not finished."))
    configuration = {
        key: without_places(value, key.rpartition(".")[2]) for key, value in evidence.configuration.items()
    }
    shared = _table((key, json.dumps(value)) for key, value in configuration.items())
    return [*blocks, s.text(f"Configuration shared by all runs:\n\n{shared}")]


def _tables(s: Sections) -> list[Any]:
    grids = [tables.comparison_grid(s.evidence), *tables.further_grids(s.evidence)]
    return [s.wr.H1("Tables"), *(s.text(tables.markdown(grid)) for grid in grids)]


def _figures(s: Sections) -> list[Any]:
    wr, metric = s.wr, s.evidence.metric
    browsers = [
        wr.MediaBrowser(
            title=name.replace("_", " "), media_keys=[f"{FIGURES}/{name}"], num_columns=1, layout=s.place(i, 12, 12)
        )
        for i, name in enumerate(s.pictures)
    ]
    lines = [
        wr.LinePlot(title=f"{y} against {x}", x=x, y=[y], title_x=x, layout=s.place(i), **s.grouped())
        for i, (y, x) in enumerate(CURVES)
    ]
    against = s.others[-1] if s.others else wr.Config("data.batch_size")
    found = s.summary(metric.name)
    scatter = wr.ScatterPlot(title=f"{metric.label} against {against.name}", x=against, y=found, layout=s.place(1))
    column = wr.ParallelCoordinatesPlotColumn
    axes = [column(metric=axis, display_name=axis.name.rpartition(".")[2]) for axis in [*s.others, s.factor]]
    axes += [column(metric=wr.Config("seed")), column(metric=found, display_name=metric.label)]
    parallel = wr.ParallelCoordinatesPlot(title="all axes", columns=axes, layout=s.place(1, 24))
    return [
        wr.H1("Figures"),
        *([s.grid(browsers, pictures=True)] if browsers else []),
        s.text(
            "Below, W&B draws the runs itself: lines are means over the runs of a level, bands reach from the lowest "
            "to the highest of them. Intervals and tests are in the tables above."
        ),
        s.grid(lines),
        s.grid([s.bar(metric, 0), scatter, parallel]),
    ]


def _images(s: Sections) -> list[Any]:
    browsers = [
        s.wr.MediaBrowser(title=key.partition("/")[2].replace("_", " "), media_keys=[key], layout=s.place(i, 12, 12))
        for i, key in enumerate(MEDIA)
    ]
    note = "Below: the test images that each run got wrong with the most confidence, and its confusion matrix."
    return [s.wr.H1("Test images"), s.text(f"{disputes_text(s.evidence)}\n\n{note}"), s.grid(browsers)]


def _cost(s: Sections) -> list[Any]:
    table = [s.text(tables.markdown(tables.cost_grid(s.evidence)))] if len(s.evidence.chosen) else []
    return [s.wr.H1("Cost"), *table, s.grid([s.bar(get_metric(name), i) for i, name in enumerate(COST)])]


def _runs(s: Sections) -> list[Any]:
    return [s.wr.H1("Runs"), s.grid([s.wr.RunComparer(diff_only="split", layout=s.place(0, 24, 14))])]


def _environment(s: Sections) -> list[Any]:
    return [s.wr.H1("Environment"), s.text(_table(environments(s.evidence)))]


def _reproduce(s: Sections) -> list[Any]:
    name = asked_as(s.evidence.study)
    text = (
        f"From a clone at the commit above: `normbench run {name}` trains what is missing, `normbench report {name}` "
        f"writes tables and figures, `normbench wandb push {name}` and `normbench wandb report {name}` bring them here."
    )
    study = without_paths(Path(s.evidence.study.path).read_text(encoding="utf-8"))
    return [s.wr.H1("Reproduce"), s.text(text), s.wr.CodeBlock(study, language="yaml")]
