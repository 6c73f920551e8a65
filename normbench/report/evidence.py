"""All that a study gives, in data frames: what answers, tables, figures and pages are made from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import pandas as pd

from normbench.report.answer import answer
from normbench.report.comparison import cell_table, contrast_table
from normbench.report.contrasts import Contrast, declared_contrasts
from normbench.report.design import configuration, design
from normbench.report.looks import LookProgress, look_progress
from normbench.report.measurements import probes_of
from normbench.stats import Criterion, chosen_runs, chosen_values, error_term, family_size
from normbench.stats.curves import with_runs
from normbench.store import Store, axis_columns
from normbench.store.measurements import measurements
from normbench.study import Plan, PlannedRun, Study
from normbench.study.metrics import COMPARED, COST, METRICS, PRECISE, Metric, comparable, get_metric

SELECT = "val_accuracy"  # what a tuned axis is chosen by


@dataclass(frozen=True, eq=False)
class Evidence:
    """A study and what its runs gave so far.

    Args:
        plan: The planned runs and skipped cells.
        runs: The results table: a row a finished run.
        store: Where the run folders are.
        unfinished: For planned runs without a result, 10,000 at most: `run_id`, `run`, `state` and `why`.
        states: How many runs of the plan are in each state; those without a row in `runs` included.
        measured_cost: What `normbench cost` wrote for the study; None: not measured.
        maps_of: Class of the test image of which the page shows feature maps; None: that of the first one.
        two_data_sets: Whether runs of one cell were trained on two data sets (mnist and its embedded stand-in).
    """

    plan: Plan
    runs: pd.DataFrame
    store: Store
    unfinished: list[dict[str, str]]
    states: Counter[str] = field(default_factory=Counter)
    two_data_sets: bool = False
    measured_cost: pd.DataFrame | None = None
    maps_of: int | None = None
    worked_out: dict[tuple[Any, ...], pd.DataFrame] = field(default_factory=dict, init=False, repr=False)

    @property
    def study(self) -> Study:
        """The study as written."""
        return self.plan.study

    @property
    def metric(self) -> Metric:
        """The metric that the study asks about."""
        return get_metric(self.study.compare.metric)

    @cached_property
    def columns(self) -> dict[str, str]:
        """The column of each axis: axes have their own namespace."""
        return axis_columns(list(self.study.axes))

    @cached_property
    def titles(self) -> dict[str, str]:
        """What a reader calls the column of an axis: its short name, or the axis as written."""
        key = {axis: all(axis in level.changes for level in levels) for axis, levels in self.study.axes.items()}
        return {
            column: column if key[axis] and not column.startswith("axis ") else axis
            for axis, column in self.columns.items()
        }

    def title(self, column: str) -> str:
        """What a reader calls a column."""
        return self.titles.get(column, column)

    @property
    def factor(self) -> str:
        """Column whose levels are compared."""
        return self.columns[self.study.compare.factor]

    @property
    def baseline(self) -> Any:
        """Level that the others are compared with."""
        return self.study.compare.baseline

    @cached_property
    def across(self) -> list[str]:
        """Columns of the other axes; the data set is one where a cell has runs on two, so that none are averaged."""
        axes = [self.columns[axis] for axis in self.study.compare.across]
        return (["dataset"] if self.two_data_sets else []) + axes

    @property
    def keys(self) -> list[str]:
        """Columns that make a cell: the other axes, then the factor."""
        return [*self.across, self.factor]

    @property
    def tuned(self) -> str | None:
        """Column of the tuned axis."""
        return self.columns[self.study.compare.tuned] if self.study.compare.tuned else None

    @property
    def levels(self) -> list[Any]:
        """Levels of the factor, in the order of the study."""
        return [level.label for level in self.study.axes[self.study.compare.factor]]

    @property
    def seeds(self) -> int:
        """Seeds that the study asks for."""
        return len(self.study.seeds)

    @property
    def margin(self) -> float | None:
        """The largest difference that does not matter, in the metric's unit; None: equivalence is not tested."""
        return self.study.compare.margin

    @property
    def margin_text(self) -> str:
        """The margin as a reader sees it: `0.5 points`; empty without one."""
        if self.margin is None:
            return ""
        number, unit = f"{self.margin * self.metric.scale:g}", self.metric.difference_unit
        return f"{number} {unit.removesuffix('s') if number == '1' else unit}".strip()

    @cached_property
    def planned(self) -> pd.DataFrame:
        """The planned runs: the axes, the seed, and the data set where it is one of the axes."""
        runs = self.plan.placed
        frame = pd.DataFrame({column: [run.cell[axis] for run in runs] for axis, column in self.columns.items()})
        frame["seed"] = [run.seed for run in runs]
        if self.two_data_sets:
            frame = frame.drop(columns="dataset", errors="ignore")
            frame = frame.merge(self.runs[["dataset"]].drop_duplicates(), how="cross")
        return frame

    @cached_property
    def choice(self) -> pd.DataFrame:
        """The value of the tuned axis of each cell: see `normbench.stats.chosen_values`."""
        assert self.tuned is not None
        return chosen_values(self.runs, self.tuned, self.keys, SELECT, planned=self.planned)

    @cached_property
    def chosen(self) -> pd.DataFrame:
        """The runs that enter the comparison: all, or those at the value of the tuned axis that validates best."""
        if self.tuned is None or self.runs.empty:
            return self.runs
        return chosen_runs(self.runs, self.choice, [*self.keys, self.tuned])

    @cached_property
    def curves(self) -> pd.DataFrame:
        """Logged losses of training and accuracies of validation of the compared runs, with their cell and seed."""
        wanted = [("train", "loss"), *((split, "accuracy") for split in VALIDATION)]
        points = self.store.curves(self.chosen["run_id"], wanted=wanted)
        axes = self.chosen.set_index("run_id")[[*self.keys, "seed", "diverged_at_step"]]
        return with_runs(points, axes)

    def measured(self, probe: str) -> pd.DataFrame:
        """What a probe found in the compared runs that did not diverge, whole layers only: MEASUREMENT_COLUMNS with
        their cell and seed; empty where no run of the plan switches it on."""
        runs = self.chosen[self.chosen["diverged_at_step"].isna()]
        if probe not in probes_of(self.plan):
            return pd.DataFrame()
        points = measurements(self.store, list(dict.fromkeys(runs["run_id"])), probe, arrays=False)
        return points.merge(runs[[*self.keys, "seed", "run_id"]], on="run_id")

    # What is compared.

    @cached_property
    def contrasts(self) -> list[Contrast]:
        """The contrasts that the study declares."""
        return declared_contrasts(self)

    def differences(self, contrast: Contrast, metric: Metric) -> pd.DataFrame:
        """The per-seed differences of a contrast in a metric; tables and figures share them."""
        key = ("differences", contrast.name, contrast.across, metric.name)
        if key not in self.worked_out:
            self.worked_out[key] = contrast.without(self.skipped, contrast.differences(self.chosen, metric.name))
        return self.worked_out[key]

    @cached_property
    def skipped(self) -> list[dict[str, Any]]:
        """The cells (column to label) of which the study runs nothing."""
        axes = {self.columns[axis]: axis for axis in self.study.axes if self.columns[axis] in self.keys}
        run = {tuple(run.cell[axis] for axis in axes.values()) for run in self.plan.placed}
        left = {tuple(cell[axis] for axis in axes.values()): None for cell, _ in self.plan.skipped}
        return [dict(zip(axes, labels, strict=True)) for labels in left if labels not in run]

    @cached_property
    def families(self) -> dict[str, int]:
        """Rows of the contrasts of each family that the study declares, less those it skips."""
        keys = list(dict.fromkeys([*self.keys, "seed"]))
        planned = self.planned[keys].drop_duplicates().assign(planned=1.0)
        rows: dict[str, list[pd.DataFrame]] = {}
        for contrast in self.contrasts:
            asked = contrast.without(self.skipped, contrast.differences(planned, "planned"))
            rows.setdefault(contrast.family, []).append(asked)
        return {family: family_size(*frames) for family, frames in rows.items()}

    @property
    def family(self) -> int:
        """Size of the first contrast's family: the multiplier of its intervals."""
        return self.families[self.contrasts[0].family]

    @cached_property
    def looks(self) -> LookProgress | None:
        """How far the planned looks are; None for a study without."""
        return look_progress(self)

    @property
    def asked(self) -> list[PlannedRun]:
        """The runs that are asked for now: all, or those of the looks up to the one that is next."""
        return self.looks.asked if self.looks else self.plan.runs

    def criterion(self, metric: Metric) -> Criterion:
        """How differences in a metric are judged; the margin is meant for the study's own."""
        margin = self.margin if metric == self.metric else None
        error = error_term(self.study.compare.error, self.seeds)
        return Criterion(higher_is_better=metric.higher_is_better, margin=margin, error=error)

    @cached_property
    def estimates(self) -> list[pd.DataFrame]:
        """For each declared contrast its rows in the study's metric: see `normbench.stats.estimates`."""
        return [contrast_table(self, contrast, self.metric) for contrast in self.contrasts]

    @cached_property
    def pairs(self) -> pd.DataFrame:
        """The first contrast: the levels against the baseline in each cell, a row a pair that has a run."""
        return self.in_order(self.estimates[0].assign(**{self.factor: self.estimates[0]["treatment"]}))

    @cached_property
    def comparison(self) -> pd.DataFrame:
        """A row for each metric and cell: the axes, the summary, the paired difference from the baseline."""
        measured = [name for name in PRECISE if self.chosen[name].notna().any()]
        configs = [run.config for run in self.plan.runs if run.seed == self.study.seeds[0]]
        names = dict.fromkeys([self.metric.name, *comparable([*COMPARED, *measured], configs), *COST])
        tables = [cell_table(self, METRICS[name]) for name in names]
        return pd.concat(tables, ignore_index=True)

    def asking(self, metric: Metric, swept: str | None = None) -> Evidence:
        """The same runs asked about another metric, which has no margin, or with another of the other axes last."""
        compare = self.study.compare
        across = [axis for axis in compare.across if axis != swept] + ([swept] if swept else [])
        margin = compare.margin if metric == self.metric else None
        asked = replace(compare, metric=metric.name, margin=margin, across=tuple(across))
        other = replace(self, plan=replace(self.plan, study=replace(self.study, compare=asked)))
        # What the question does not change is not worked out again.
        vars(other).update({name: vars(self)[name] for name in _SAME if name in vars(self)})
        vars(other)["comparison"] = other.in_order(self.comparison)
        return other

    def in_order(self, cells: pd.DataFrame) -> pd.DataFrame:
        """Rows sorted by the other axes (quantities by size, names as the study has them), then by the factor."""
        named = {self.columns[axis]: [level.label for level in levels] for axis, levels in self.study.axes.items()}
        axes = [axis for axis in self.across if axis in cells]

        def rank(values: pd.Series) -> pd.Series:
            labels = named.get(str(values.name), [])
            if values.name != self.factor and pd.api.types.is_numeric_dtype(values):
                return values
            order = {label: index for index, label in enumerate(labels)}
            return values.map(lambda label: order.get(label, len(order))).astype(int)

        return cells.sort_values([*axes, self.factor], key=rank, kind="stable").reset_index(drop=True)

    def cell_name(self, row: Mapping[Any, Any]) -> str:
        """The other axes of a row in words: `batch_size 32`; empty without other axes."""
        return ", ".join(f"{self.title(axis)} {row[axis]}" for axis in self.across)

    def level_name(self, level: Any, factor: str = "") -> str:
        """A level of a factor: a name stands for itself, a number or a truth value keeps its axis (`groups 1`)."""
        return level if isinstance(level, str) else f"{self.title(factor or self.factor)} {level}"

    def row_name(self, row: Mapping[Any, Any]) -> str:
        """The cell of a row in words: `group, batch_size 32`."""
        return ", ".join(part for part in (self.level_name(row[self.factor]), self.cell_name(row)) if part)

    @cached_property
    def answer(self) -> list[str]:
        """Sentences built from the verdicts, never stronger than they are: one a contrast, then what is open."""
        return answer(self)

    @cached_property
    def design(self) -> list[tuple[str, str]]:
        """The design in name and value, for a reader who wants to know what was held equal."""
        return design(self)

    @cached_property
    def configuration(self) -> dict[str, Any]:
        """The resolved configuration that all runs share, without places of this machine."""
        return configuration(self)


VALIDATION = ("val", "validation")  # names of the split in metrics.csv, now and in version 0.1
_SAME = ("columns", "titles", "planned", "choice", "chosen", "curves", "skipped", "families", "looks", "worked_out")
