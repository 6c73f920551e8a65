"""The contrasts that a study declares: what is compared with what, as per-seed differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pandas as pd

from normbench.stats import (
    Along,
    Missing,
    change_differences,
    change_text,
    level_differences,
    slope_differences,
    within_differences,
)
from normbench.study.compare import FAMILY, Kind

if TYPE_CHECKING:
    from normbench.report.evidence import Evidence


@dataclass(frozen=True)
class Contrast:
    """One declared contrast, in columns of the results table.

    Args:
        name: Unique in the study; part of every row's `id`.
        kind: "levels": levels of `factor` against `baseline` in each cell; "within": values of `along` against
            `start` within the level `baseline` of `factor`; "change": each level's change from `start` along `along`
            less that of `baseline`; "slope": each level's slope against log2 of `along` less that of `baseline`.
        factor: Column of the levels.
        baseline: Level that the others are compared with; for "within", the level that is looked at.
        across: Columns of the cells.
        levels: Levels of the factor, in order.
        along: Column that is followed.
        start: Its value that the others are compared with.
        stops: Its other values, in order.
        family: Contrasts of a family share its level.
        where: Values of columns of the cells that take part; all where a column is not named.
    """

    name: str
    kind: Kind
    factor: str
    baseline: Any
    across: tuple[str, ...]
    levels: tuple[Any, ...]
    along: str = ""
    start: Any = None
    stops: tuple[Any, ...] = ()
    family: str = FAMILY
    where: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)

    def differences(self, runs: pd.DataFrame, metric: str, missing: Missing = "diverged") -> pd.DataFrame:
        """The per-seed differences (see `normbench.stats`); empty where one side has no run at all."""
        across, baseline, name = list(self.across), self.baseline, self.name
        for column, kept in self.where.items():
            runs = runs[runs[column].isin(kept)]
        treatments = [level for level in self.levels if level != baseline and _has(runs, self.factor, level)]
        place = runs[runs[self.factor] == baseline] if self.kind == "within" else runs
        stops = [value for value in self.stops if _has(place, self.along, value)]
        followed = bool(stops) and _has(place, self.along, self.start)
        able = {"levels": True, "slope": True}.get(self.kind, followed) and bool(treatments or self.kind == "within")
        if not (able and _has(runs, self.factor, baseline)):
            return empty_differences(self.columns)
        along = Along(self.along, self.start, stops)
        if self.kind == "within":
            return within_differences(runs, metric, self.factor, baseline, along, across=across, contrast=name)
        sides: Any = {"across": across, "treatments": treatments, "contrast": name}
        if self.kind == "change":
            return change_differences(runs, metric, self.factor, baseline, along, **sides)
        if self.kind == "slope":
            return slope_differences(runs, metric, self.factor, baseline, self.along, **sides)
        return level_differences(runs, metric, self.factor, baseline, missing=missing, **sides)

    def stop(self, along: str) -> Any:
        """The value of the axis that a row of a "change" goes to, by the row's text `along`."""
        return next((stop for stop in self.stops if change_text(self.along, self.start, stop) == along), None)

    def uses(self, row: Mapping[Any, Any], cell: Mapping[str, Any]) -> bool:
        """Whether a row of the estimates is made from the runs of a cell.

        Args:
            row: Columns of the contrast's cell, `treatment`, `baseline`, `along`.
            cell: Value of each axis' column.
        """
        if any(cell.get(column, row[column]) != row[column] for column in self.across):
            return False
        level = cell[self.factor]
        if self.kind == "within":
            return bool(level == self.baseline and cell[self.along] in (row["treatment"], row["baseline"]))
        if level not in (row["treatment"], row["baseline"]):
            return False
        return self.kind != "change" or cell[self.along] in (self.start, self.stop(row["along"]))

    def without(self, cells: Sequence[Mapping[str, Any]], differences: pd.DataFrame) -> pd.DataFrame:
        """The differences less the rows that use one of the cells (those that a study skips)."""
        rows = differences.drop_duplicates("id").to_dict("records") if cells else []
        gone = [row["id"] for row in rows if any(self.uses(row, cell) for cell in cells)]
        return differences[~differences["id"].isin(gone)] if gone else differences

    @property
    def columns(self) -> list[str]:
        """Columns that make a cell in the differences."""
        return [self.factor, *self.across] if self.kind == "within" else list(self.across)


def like_the_first(contrasts: Sequence[Contrast]) -> list[Contrast]:
    """The first contrast, and those that compare the same levels with the same one, on cells that it leaves out."""
    first = contrasts[0]
    key = first.kind, first.factor, first.baseline
    return [contrast for contrast in contrasts if (contrast.kind, contrast.factor, contrast.baseline) == key]


def _has(runs: pd.DataFrame, column: str, value: Any) -> bool:
    return bool((runs[column] == value).any())


def empty_differences(across: Sequence[str]) -> pd.DataFrame:
    """Differences of no pair."""
    before, after = ["contrast", "id", "along"], ["treatment", "baseline", "seed", "diff"]
    return pd.DataFrame(columns=[*before, *across, *after, "treatment_state", "baseline_state", "block"])


def declared_contrasts(evidence: Evidence) -> list[Contrast]:
    """The levels against the baseline in each cell, then what the study declares besides."""
    compare, columns = evidence.study.compare, evidence.columns
    data = [column for column in evidence.across if column not in columns.values()]  # runs on two data sets
    axes = [axis for axis in evidence.study.axes if axis != compare.tuned]
    labels = {axis: tuple(level.label for level in evidence.study.axes[axis]) for axis in axes}
    found = [
        Contrast(
            compare.name,
            "levels",
            evidence.factor,
            evidence.baseline,
            tuple(evidence.across),
            tuple(evidence.levels),
            family=compare.family,
            where={columns[axis]: kept for axis, kept in compare.where.items()},
        )
    ]
    for more in compare.contrasts:
        cells = [columns[axis] for axis in axes if axis not in (more.factor, more.along)]
        found.append(
            Contrast(
                name=more.name,
                kind=more.kind,
                factor=columns[more.factor],
                baseline=more.level,
                across=(*data, *cells),
                levels=labels[more.factor],
                along=columns[more.along] if more.along else "",
                start=more.start,
                stops=more.stops,
                family=more.family,
                where={columns[axis]: kept for axis, kept in more.where.items()},
            )
        )
    return found
