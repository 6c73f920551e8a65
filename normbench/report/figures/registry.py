"""Every figure, in the order of the report. A new one is a file with a function, and a line here."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import altair as alt
import pandas as pd
from altair.utils.schemapi import debug_mode

from normbench.report.evidence import Evidence
from normbench.report.figures import (
    contrasts,
    cost,
    detectable,
    differences,
    divergence,
    interaction,
    learning_curves,
    learning_rates,
    levels,
    precise,
    probes,
    statistic_size,
)
from normbench.report.figures.style import Figure, specification

Draw = Callable[[Evidence], Figure | None]

FIGURES: tuple[Draw, ...] = (
    levels.figure,
    statistic_size.values_figure,
    statistic_size.images_figure,
    differences.figure,
    precise.figure,
    contrasts.figure,
    interaction.figure,
    divergence.figure,
    learning_rates.heat_map,
    learning_rates.sensitivity,
    learning_curves.training_loss,
    learning_curves.validation_error,
    *probes.FIGURES,
    cost.figure,
    detectable.figure,
)
# What the page also draws in other metrics, and with another axis swept.
BY_METRIC: tuple[Draw, ...] = (
    levels.figure,
    statistic_size.values_figure,
    statistic_size.images_figure,
    differences.figure,
)
BY_AXIS: tuple[Draw, ...] = (levels.figure, differences.figure)
LONGEST = 80  # characters of a file's name
alt.data_transformers.disable_max_rows()


@dataclass(frozen=True)
class Drawn:
    """A figure ready to be shown.

    Args:
        name: As its file calls it, before it is made safe.
        spec: Vega-Lite.
        caption: A sentence that says what to see in it.
        alt: What it shows, for who cannot see it.
        data: What it shows, under the names that a reader knows.
        draw: The function that drew it.
    """

    name: str
    spec: dict[str, Any]
    caption: str
    alt: str
    data: pd.DataFrame
    draw: Draw


def drawn_figures(evidence: Evidence) -> dict[str, Drawn]:
    """Every figure that a study's data can fill, by file name."""
    return dict(each_figure(evidence))


def each_figure(evidence: Evidence) -> Iterator[tuple[str, Drawn]]:
    """The same one after the other, each as soon as it is ready."""
    taken: set[str] = set()
    for draw in () if evidence.chosen.empty else FIGURES:
        figure = _of_report(evidence, draw)
        if figure is not None:
            name = _free(safe_name(figure.name), taken)
            taken.add(name)
            yield name, figure


@lru_cache(maxsize=len(FIGURES))  # files and page are made from the same ones
def _of_report(evidence: Evidence, draw: Draw) -> Drawn | None:
    return drawn_by(evidence, draw)


def drawn_by(evidence: Evidence, draw: Draw) -> Drawn | None:
    """A figure of the evidence, or of other evidence, such as of another metric; None where the data cannot fill it.

    Altair's checks against its schema are left to the tests: they take longer than all else of a figure.
    """
    with debug_mode(False):
        figure = draw(evidence)
        if figure is None:
            return None
        return Drawn(figure.name, specification(figure.chart), figure.caption, figure.alt, figure.data, draw)


def specifications(evidence: Evidence) -> dict[str, dict[str, Any]]:
    """The Vega-Lite specification of every figure, by file name."""
    return {name: figure.spec for name, figure in drawn_figures(evidence).items()}


def safe_name(name: str) -> str:
    """A file name on every system: letters, digits, `_` and `-`, and not too long.

    Example:
        >>> safe_name("test_error_against_width [units]: a/b")
        'test_error_against_width_units_a_b'
    """
    return re.sub(r"[^A-Za-z0-9-]+", "_", name)[:LONGEST].strip("_") or "figure"


def _free(name: str, taken: Set[str]) -> str:
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}_{number}"
    return free
