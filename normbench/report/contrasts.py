"""The contrasts that a study declares: what is compared with what, as per-seed differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from normbench.stats import Along, Missing, change_differences, level_differences, within_differences

if TYPE_CHECKING:
    from normbench.report.evidence import Evidence

Kind = Literal["levels", "within", "change"]


@dataclass(frozen=True)
class Contrast:
    """One declared contrast, in columns of the results table.

    Args:
        name: Unique in the study; part of every row's `id`.
        kind: "levels": levels of `factor` against `baseline` in each cell; "within": values of `along` against
            `start` within the level `baseline` of `factor`; "change": each level's change from `start` along `along`
            less that of `baseline`.
        factor: Column of the levels.
        baseline: Level that the others are compared with; for "within", the level that is looked at.
        across: Columns of the cells.
        levels: Levels of the factor, in order.
        along: Column that is followed.
        start: Its value that the others are compared with.
        stops: Its other values, in order.
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

    def differences(self, runs: pd.DataFrame, metric: str, missing: Missing = "diverged") -> pd.DataFrame:
        """The per-seed differences (see `normbench.stats`); empty where one side has no run at all."""
        across, baseline = list(self.across), self.baseline
        treatments = [level for level in self.levels if level != baseline and _has(runs, self.factor, level)]
        if not _has(runs, self.factor, baseline):
            runs = runs.iloc[:0]
        if self.kind == "levels" and treatments and len(runs):
            return level_differences(
                runs,
                metric,
                self.factor,
                baseline,
                across=across,
                treatments=treatments,
                contrast=self.name,
                missing=missing,
            )
        if self.kind == "levels" or runs.empty:
            return empty_differences(self.columns)
        place = runs[runs[self.factor] == baseline] if self.kind == "within" else runs
        stops = [value for value in self.stops if _has(place, self.along, value)]
        if not stops or not _has(place, self.along, self.start):
            return empty_differences(self.columns)
        along = Along(self.along, self.start, stops)
        if self.kind == "within":
            return within_differences(runs, metric, self.factor, baseline, along, across=across, contrast=self.name)
        if not treatments:
            return empty_differences(self.columns)
        return change_differences(
            runs, metric, self.factor, baseline, along, across=across, treatments=treatments, contrast=self.name
        )

    @property
    def columns(self) -> list[str]:
        """Columns that make a cell in the differences."""
        return [self.factor, *self.across] if self.kind == "within" else list(self.across)


def _has(runs: pd.DataFrame, column: str, value: Any) -> bool:
    return bool((runs[column] == value).any())


def empty_differences(across: Sequence[str]) -> pd.DataFrame:
    """Differences of no pair."""
    before, after = ["contrast", "id", "along"], ["treatment", "baseline", "seed", "diff"]
    return pd.DataFrame(columns=[*before, *across, *after, "treatment_state", "baseline_state", "block"])


def declared_contrasts(evidence: Evidence) -> list[Contrast]:
    """The levels against the baseline in each cell, then what the study declares besides."""
    study, columns = evidence.study, evidence.columns
    first = Contrast(
        "levels", "levels", evidence.factor, evidence.baseline, tuple(evidence.across), tuple(evidence.levels)
    )
    found = [first]
    for index, more in enumerate(getattr(study.compare, "contrasts", ())):
        along = columns[more.along]
        values = [level.label for level in study.axes[more.along]]
        found.append(
            Contrast(
                name=f"{more.kind} {index + 1}",
                kind=more.kind,
                factor=evidence.factor,
                baseline=more.level,
                across=tuple(axis for axis in evidence.across if axis != along),
                levels=tuple(evidence.levels),
                along=along,
                start=more.start,
                stops=tuple(value for value in (more.stops or values) if value != more.start),
            )
        )
    return found
