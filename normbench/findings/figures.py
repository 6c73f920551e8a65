"""The figures on a claim's page: what its plot shows, its study's curve beside the published one, or its criterion."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from normbench.errors import NormbenchError
from normbench.findings.finding import Finding, Plot, Published, StudyExperiment
from normbench.findings.margins import CAPTION, margins_chart
from normbench.findings.results import Result
from normbench.findings.studies import study_path

if TYPE_CHECKING:
    import pandas as pd

    from normbench.report import Evidence
    from normbench.study import Study

FEW = 8  # values on an axis up to which a plot marks each
DASHED = [6, 4]  # what is published


@dataclass(frozen=True)
class Drawn:
    """A figure of a page.

    Args:
        file: Where it is, from the page.
        svg: The figure.
        alt: What it shows, for who cannot see it.
        caption: What to see in it.
        data: File of every run that it is drawn from; "": none.
    """

    file: str
    svg: str
    alt: str
    caption: str
    data: str = ""


def drawn_figures(finding: Finding, result: Result) -> list[Drawn]:
    """The figures of a claim; none where its quantities are computed, not sampled."""
    file, plot = f"figures/{finding.id}.svg", finding.plot
    if result.detail is None:
        chart = margins_chart([(bound, result.quantities[bound.quantity]) for bound in finding.criterion])
        return [Drawn(file, _svg(chart), f"Measured against the criterion. {CAPTION}", CAPTION)] if chart else []
    if plot is not None:
        svg = _svg(_chart(_read_detail(finding, result.detail), plot))
        return [Drawn(file, svg, f"{plot.y} against {plot.x}. {plot.caption}", plot.caption)]
    from normbench.report.figures import levels, precise
    from normbench.study import load_study

    assert isinstance(finding.experiment, StudyExperiment)
    study = load_study(study_path(finding.experiment.study))
    evidence = stored_evidence(finding, study, result.detail)
    figure = precise.figure(evidence) or levels.figure(evidence)
    if figure is None:
        return []
    known = [published for published in finding.published if published.curves]
    drawn = [_published(finding, published, evidence, place) for place, published in enumerate(known, 1)]
    chosen = f", at the {study.compare.tuned} that validates best" if study.compare.tuned else ""
    caption = f"Mean of each arm with its own 95 % interval{chosen}. Runs are paired by seed; what decides is above."
    words = figure.alt.partition(";")[0] + "."
    return [*drawn, Drawn(file, _svg(figure.chart), words, caption, f"results/{result.detail.name}")]


def _read_detail(finding: Finding, path: Path, **options: Any) -> pd.DataFrame:
    import pandas as pd

    try:
        return pd.read_csv(path, **options)
    except (OSError, ValueError) as error:
        raise NormbenchError(f"{path} cannot be read ({error}): store it anew, {finding.command}") from None


def stored_evidence(finding: Finding, study: Study, path: Path) -> Evidence:
    """The evidence of a finding's study as far as its stored runs go (`compared_runs`), which its figures ask for."""
    import pandas as pd

    from normbench.report import Evidence
    from normbench.store import Store
    from normbench.study import make_plan
    from normbench.study.metrics import METRICS

    # The stored runs are those at the chosen value of a tuned axis: nothing is left to be chosen.
    plan = replace(make_plan(study), study=replace(study, compare=replace(study.compare, tuned=None)))
    axes = list(study.axes)
    texts = {"dtype": dict.fromkeys(axes, str), "keep_default_na": False, "na_values": [""]}
    stored = _read_detail(finding, path, **texts)
    columns = Evidence(plan, stored, Store(path.parent), []).columns
    planned = {(*(str(run.cell[axis]) for axis in axes), run.seed): run for run in plan.placed}
    rows: list[dict[str, Any]] = []
    for row in stored.to_dict("records"):
        run = planned.get((*(row.get(axis) for axis in axes), row["seed"]))
        if run is None:
            raise NormbenchError(f"{path}: its study has no such run any more: store it anew, {finding.command}")
        facts = {"dataset": run.config.data.name, "model": run.config.model.name, "diverged_at_step": None}
        measured = {name: row.get(name, float("nan")) for name in METRICS}
        cell = {columns[axis]: run.cell[axis] for axis in axes}
        rows.append({"run_id": run.id, "seed": run.seed, **facts, **measured, **cell})
    return Evidence(plan, pd.DataFrame(rows), Store(path.parent), [])


def _published(finding: Finding, published: Published, evidence: Evidence, place: int) -> Drawn:
    """The published curves as the study's figure has its own: the same axis, colours and markers."""
    import altair as alt
    import pandas as pd

    from normbench.report.figures import frames, levels
    from normbench.report.figures.style import FACTOR, HEIGHT, WIDTH, Marks, shown_title

    axis = evidence.across[-1]
    rows = [(arm, x, y) for arm, curve in published.curves.items() for x, y in curve.items()]
    frame = pd.DataFrame(rows, columns=[FACTOR, "x", "y"])
    label, marks = shown_title(evidence, axis), Marks(evidence, list(published.curves))
    log = frame["y"].max() >= frames.BY_FACTORS * frame["y"].min() > 0
    scale = alt.Scale(type="log" if log else "linear", zero=False, padding=8, nice=not log)
    y = alt.Y("y:Q", title=published.unit + (", log scale" if log else ""), scale=scale)
    base = alt.Chart().encode(x=levels.quantity_axis(frame, "x", label, axis), y=y, color=marks.color)
    layers = [
        base.mark_line(strokeWidth=1.5, strokeDash=DASHED),
        base.mark_point(filled=True, size=70, opacity=1).encode(shape=marks.shape),
    ]
    chart = alt.layer(*layers, data=frame, width=WIDTH, height=HEIGHT)
    text = f"{published.unit.partition(' (')[0]} against {label}"
    chart.title = alt.TitleParams(f"Published: {text}", subtitle=[published.setting, published.source])
    caption = f"As published{'' if published.verified else ', from memory'}: {published.source}."
    file = f"figures/{finding.id}_published{place if place > 1 else ''}.svg"
    return Drawn(file, _svg(chart), f"Published {text}: {published.value}.", caption)


def _svg(chart: Any) -> str:
    import vl_convert

    from normbench.report.figures.style import specification, still

    svg: str = vl_convert.vegalite_to_svg(still(specification(chart)))
    return svg


def _chart(frame: pd.DataFrame, plot: Plot) -> Any:
    import altair as alt
    import pandas as pd

    names = list(dict.fromkeys(frame[plot.series]))
    columns = {plot.x: "x", plot.y: "y", plot.series: "series"} | ({plot.facet: "facet"} if plot.facet else {})
    frame = frame.rename(columns=columns)
    frame["published"] = frame["series"].str.startswith("published")
    colors = ["#0072B2", "#505050", "#E69F00", "#009E73", "#CC79A7"]
    palette = ["#D55E00" if name.startswith("published") else colors.pop(0) for name in names]
    kinds: Any = ["log" if axis in plot.log else "linear" for axis in "xy"]
    x = alt.X("x:Q", title=plot.x, scale=alt.Scale(type=kinds[0], nice=kinds[0] == "linear"))
    if not pd.api.types.is_numeric_dtype(frame["x"]):
        x = alt.X("x:O", title=plot.x, sort=list(dict.fromkeys(frame["x"])), axis=alt.Axis(labelAngle=-30))
    legend = alt.Legend(orient="bottom", columns=2) if plot.facet else alt.Legend()
    scale = alt.Scale(domain=names, range=palette)
    series = alt.Color("series:N", title=plot.series, sort=names, scale=scale, legend=legend)
    lines = alt.Chart().encode(
        x=x,
        y=alt.Y("y:Q", title=plot.y, scale=alt.Scale(type=kinds[1]), axis=alt.Axis(format="~g", tickCount=6)),
        color=series,
    )
    dash = alt.Scale(domain=[False, True], range=[[1, 0], DASHED])
    layers: list[Any] = [lines.mark_line().encode(strokeDash=alt.StrokeDash("published:N", legend=None, scale=dash))]
    if frame["x"].nunique() <= FEW:  # each point is a measurement; shapes tell the lines apart without their colours
        shape = alt.Shape("series:N", title=plot.series, sort=names, scale=alt.Scale(domain=names))
        layers.append(lines.mark_point(size=60, filled=True).encode(shape=shape))
    if not plot.facet:
        return alt.layer(*layers, data=frame).properties(width=420, height=260)
    panels = list(dict.fromkeys(frame["facet"]))
    chart = alt.layer(*layers, data=frame).properties(width=420, height=180)
    return chart.facet(row=alt.Row("facet:N", title=None, sort=panels, header=alt.Header(orient="top", labelAngle=0)))
