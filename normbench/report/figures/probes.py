"""What probes found on the way: one figure a probe, a panel for each of a few layers, a curve for each level."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import altair as alt
import numpy as np
import pandas as pd

from normbench.report.evidence import Evidence
from normbench.report.figures import frames
from normbench.report.figures.learning_curves import AXES
from normbench.report.figures.style import FACTOR, PANEL, PANEL_PLACE, Figure, Marks, capital, titled

PANELS = 4  # layers, or quantities, that are drawn
WIDTH, HEIGHT = 300, 180
WHOLE = "the network"
CLOSEST = 1.05  # factor between the ends of a logarithmic axis at least


@dataclass(frozen=True)
class Drawing:
    """How the figure of a probe is drawn.

    Args:
        probe: Its name.
        text: What it shows, without its last words (`over training images seen`).
        title: Of the vertical axis, with its unit; "": the titles of the panels tell both.
        quantities: What is drawn and its name: one, of every layer; or several, a panel each.
        caption: A sentence that says what to see in it.
        log: Whether the vertical axis is logarithmic.
        bands: By quantity, those that bound the area around its curve; else it is the range over seeds.
        area: What the area is, in words.
    """

    probe: str
    text: str
    title: str
    quantities: dict[str, str]
    caption: str
    log: bool = False
    bands: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    area: str = "range over seeds"


DRAWINGS = (
    Drawing(
        "activations",
        "inputs of activation functions",
        "input",
        {"p50": "median"},
        "What goes into the activation functions while the network learns: the median, and the 15th to 85th "
        "percentile as an area (the form of Ioffe & Szegedy 2015, figure 1); an area that moves is what they call "
        "internal covariate shift.",
        bands={"p50": ("p15", "p85")},
        area="15th to 85th percentile",
    ),
    Drawing(
        "gradients",
        "gradients of layers",
        "norm of the gradient",
        {"gradient": "gradient"},
        "The norm of the gradient of a few layers, from the first step on: where it grows from the last layer to the "
        "first, gradients explode with depth; where it shrinks, they vanish.",
        log=True,
    ),
    Drawing(
        "layers",
        "spread of layers' outputs",
        "standard deviation",
        {"std": "standard deviation"},
        "The standard deviation of what a few layers give, norms among them: where it grows from the first layer to "
        "the last, the signal explodes with depth; where it shrinks, it vanishes.",
        log=True,
    ),
    Drawing(
        "statistics",
        "statistics of batches against running averages",
        "",
        {
            "error_running": "error with running averages (%)",
            "error_recomputed": "error with recomputed averages (%)",
            "error_batch": "error with the test batch's own statistics (%)",
            "mates": "change of the output with other batch mates",
        },
        "The error on validation images under three kinds of statistics, and by how much an image's output changes "
        "with the other images of its batch: a norm that takes one image at a time has one error and no change.",
    ),
    Drawing(
        "rank",
        "stable rank of activations",
        "stable rank",
        {"stable_rank": "stable rank"},
        "The stable rank of what comes out of a few norms, from 1, where the activations of all images point the same "
        "way and the layers behind cannot tell them apart, to the number of images.",
        log=True,
    ),
    Drawing(
        "calibration",
        "calibration",
        "",
        {
            "calibration_error": "expected calibration error",
            "confidence": "mean confidence",
            "accuracy": "accuracy",
            "nll": "NLL (nats)",
        },
        "Whether the network is as sure of its answers to validation images as it is right: where confidence is above "
        "accuracy it is too sure.",
    ),
    Drawing(
        "robustness",
        "accuracy on changed images",
        "accuracy",
        {
            "accuracy_clean": "as they are",
            "accuracy_corrupted": "corrupted, mean over kinds",
            "accuracy_fgsm": "attacked by FGSM",
            "accuracy_pgd": "attacked by PGD",
        },
        "The share of right answers to validation images, to the same ones changed by noise and the like, and to ones "
        "changed against this very network.",
    ),
    Drawing(
        "smoothness",
        "loss and gradient along the gradient",
        "",
        {
            "loss": "loss (nats)",
            "gradient_mean": "distance to the gradient before",
            "beta": "change of the gradient over the distance",
        },
        "What a step of a few lengths along the gradient does, in the form of Santurkar et al. 2018, figure 4: the "
        "area is the range over the lengths, and the narrower it is, the better the gradient foretells the loss.",
        bands={"loss": ("loss_low", "loss_high"), "gradient_mean": ("gradient_low", "gradient_high")},
        area="least to greatest over the lengths",
    ),
    Drawing(
        "covariate_shift",
        "internal covariate shift",
        "cosine of the gradients",
        {"cosine": "cosine"},
        "The cosine between a layer's gradient before and after the layers in front of it made their step "
        "(Santurkar et al. 2018, definition 2.1): 1 where their step changes nothing for the layer.",
    ),
)


def figure(evidence: Evidence, drawing: Drawing) -> Figure | None:
    """Curves over the training images seen: the mean over seeds of one cell of the other axes, and an area around."""
    found = evidence.measured(drawing.probe)
    if found.empty:
        return None
    found, note = _one_cell(evidence, found)
    frame = _averaged(frames.drawn(evidence, found), drawing)
    frame, order = _panels(frame, drawing)
    if frame.empty:
        return None
    if drawing.log:
        frame = frame[frame["mean"] > 0]
        domain = _domain(frame)
        scale, axis = alt.Scale(type="log", domain=domain, clamp=True, nice=False), frames.log_axis(*domain)
        frame = frame.assign(low=frame["low"].clip(lower=domain[0]), high=frame["high"].clip(upper=domain[1]))
    else:
        scale, axis = alt.Scale(zero=False, padding=8, nice=True), alt.Axis()
    present = set(frame[FACTOR])
    marks = Marks(evidence, [level for level in evidence.levels if str(level) in present])
    images = alt.Axis(labelExpr="format(datum.value, '~s')", tickCount=5)
    base = alt.Chart().encode(x=alt.X("samples:Q", title=AXES["samples"], axis=images), color=marks.color)
    title = ", ".join(filter(None, (drawing.title, "log scale" if drawing.log else ""))) or None
    tell = [alt.Tooltip(f"{FACTOR}:N", title=evidence.title(evidence.factor)), alt.Tooltip(f"{PANEL}:N", title="panel")]
    tell += [alt.Tooltip("step:Q", title=AXES["step"]), alt.Tooltip("n:Q", title="runs")]
    tell += [alt.Tooltip(f"{name}:Q", format=".4g") for name in ("mean", "low", "high")]
    y = alt.Y("mean:Q", scale=scale, title=title, axis=axis)
    layers = [
        base.mark_area().encode(
            y=alt.Y("low:Q", scale=scale, title=title, axis=axis),
            y2="high:Q",
            fillOpacity=marks.shade(0.18, alt.FillOpacityValue),
        ),
        base.mark_line(strokeWidth=1.6).encode(y=y, opacity=marks.opacity),
        base.mark_point(filled=True, size=22)
        .encode(y=y, shape=marks.shape, opacity=marks.opacity, tooltip=tell)
        .add_params(marks.toggle),
    ]
    chart = alt.layer(*layers, data=frame, width=WIDTH, height=HEIGHT)
    text = f"{capital(drawing.text)} over {AXES['samples']}"
    notes = "; ".join(part for part in ("mean over seeds", f"area: {drawing.area}", note) if part)
    by_layer = len(drawing.quantities) == 1
    chart = frames.faceted(chart, order, "layer" if by_layer else "")
    if not by_layer:
        chart = chart.resolve_scale(y="independent").resolve_axis(x="independent")
    return Figure(
        f"probe_{drawing.probe}",
        titled(evidence, chart, text, notes),
        f"{text}, one curve for each {evidence.title(evidence.factor)}.",
        frames.named(
            evidence, frame, {PANEL: "panel", **AXES, "mean": "mean", "low": "from", "high": "to", "n": "runs"}
        ),
        drawing.caption,
    )


def _one_cell(evidence: Evidence, found: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The rows of the first cell of the other axes, and a note that names it: layers take the place of panels."""
    axes = [*evidence.across, *([evidence.tuned] if evidence.tuned and evidence.tuned in found else [])]
    if not axes:
        return found, ""
    cells = found[axes].drop_duplicates()
    for axis in axes:
        cells = cells.assign(rank=frames.place(evidence, axis, cells[axis])).sort_values("rank", kind="stable")
    first = cells.iloc[0]
    for axis in axes:
        found = found[found[axis] == first[axis]]
    named = ", ".join(f"{evidence.title(axis)} {first[axis]}" for axis in axes)
    return found, named if len(cells) == 1 else f"{named}, of {len(cells)} cells"


def _averaged(found: pd.DataFrame, drawing: Drawing) -> pd.DataFrame:
    """Mean over seeds of each quantity at each step and layer, and the ends of the area."""
    found = found[np.isfinite(found["value"].astype(float))]
    grouped = found.groupby([FACTOR, "layer", "quantity", "step"], observed=True, sort=False)
    frame = grouped.agg(
        mean=("value", "mean"),
        low=("value", "min"),
        high=("value", "max"),
        n=("value", "size"),
        samples=("samples", "max"),
    ).reset_index()
    drawn = frame[frame["quantity"].isin(list(drawing.quantities))]
    keys = [FACTOR, "layer", "quantity", "step"]
    parts = [drawn[~drawn["quantity"].isin(list(drawing.bands))]]
    for quantity, band in drawing.bands.items():
        part = drawn[drawn["quantity"] == quantity]
        for end, bound in zip(("low", "high"), band, strict=True):
            ends = frame.loc[frame["quantity"] == bound, [*keys, "mean"]].rename(columns={"mean": end})
            part = part.drop(columns=end).merge(ends.assign(quantity=quantity), on=keys)
        parts.append(part)
    return pd.concat([part for part in parts if not part.empty]) if any(map(len, parts)) else drawn


def _panels(frame: pd.DataFrame, drawing: Drawing) -> tuple[pd.DataFrame, list[str]]:
    """The frame with the panels that are drawn: quantities as they are named, or layers, those of most levels first."""
    if len(drawing.quantities) > 1:
        names = [name for name in drawing.quantities if name in set(frame["quantity"])]
        column, texts = "quantity", [drawing.quantities[name] for name in names]
    else:
        levels = frame.groupby("layer", sort=False)[FACTOR].nunique()
        common = [str(name) for name in levels.index[levels == levels.max()]]
        places = np.linspace(0, len(common) - 1, min(PANELS, len(common))).round().astype(int)
        names = [common[place] for place in places]
        column, texts = "layer", [name or WHOLE for name in names]
    panels = pd.DataFrame({column: names, PANEL: texts, PANEL_PLACE: range(len(names))})
    return frame.merge(panels, on=column), texts


def _domain(frame: pd.DataFrame) -> list[float]:
    """Both ends of a logarithmic axis: all means, and no area far beyond them."""
    low, high = float(frame["mean"].min()), float(frame["mean"].max())
    return [low / CLOSEST**2, max(high, low * CLOSEST) * CLOSEST**2]


def _drawer(drawing: Drawing) -> Callable[[Evidence], Figure | None]:
    return lambda evidence: figure(evidence, drawing)


FIGURES = tuple(_drawer(drawing) for drawing in DRAWINGS)
