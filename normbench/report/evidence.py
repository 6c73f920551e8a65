"""All that a study gives, in data frames and sentences: what tables, figures and reports are made from."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from normbench.spec.schema import flatten, to_dict
from normbench.stats import Missing, best_runs, compare_to_baseline, mark_best, summarize
from normbench.store.folder import ERROR, state
from normbench.store.table import column, curves, results_table
from normbench.study import Plan, Study, describe, fullest, load_study, possible_plans
from normbench.study.metrics import COMPARED, COST, Metric, counted, get_metric

MAX_NAMED = 12  # comparisons that a sentence names one by one


@dataclass(frozen=True, eq=False)
class Evidence:
    """A study and what its runs gave so far.

    Args:
        plan: The planned runs and skipped cells.
        runs: The results table: a row a finished run.
        folder: Folder of the run folders.
        unfinished: For every planned run without a result: id, cell and seed in words, state, and the last
            line of its error.
    """

    plan: Plan
    runs: pd.DataFrame
    folder: Path
    unfinished: list[dict[str, str]]

    @property
    def study(self) -> Study:
        """The study as written."""
        return self.plan.study

    @property
    def metric(self) -> Metric:
        """The metric that the study asks about."""
        return get_metric(self.study.compare.metric)

    @property
    def factor(self) -> str:
        """Column whose levels are compared."""
        return column(self.study.compare.factor)

    @property
    def baseline(self) -> Any:
        """Level that the others are compared with."""
        return self.study.compare.baseline

    @cached_property
    def across(self) -> list[str]:
        """Columns of the other axes; the data set is one as soon as there are two, so that none are averaged."""
        axes = [column(axis) for axis in self.study.compare.across]
        several = "dataset" not in axes and self.runs["dataset"].nunique() > 1
        return (["dataset"] if several else []) + axes

    @property
    def tuned(self) -> str | None:
        """Column of the tuned axis."""
        return column(self.study.compare.tuned) if self.study.compare.tuned else None

    @property
    def levels(self) -> list[Any]:
        """Levels of the factor, in the order of the study."""
        return [level.label for level in self.study.axes[self.study.compare.factor]]

    @property
    def seeds(self) -> int:
        """Seeds that the study asks for."""
        return len(self.study.seeds)

    @cached_property
    def chosen(self) -> pd.DataFrame:
        """The runs that enter the comparison: all, or those at the value of the tuned axis that validates best."""
        if self.tuned is None or self.runs.empty:
            return self.runs
        by = [*self.across, self.factor]
        return best_runs(self.runs, self.tuned, by, "val_accuracy")

    @cached_property
    def curves(self) -> pd.DataFrame:
        """The logged points of the compared runs, with their factor, other axes and seed."""
        points = curves(self.folder, self.chosen["run_id"])
        axes = self.chosen.set_index("run_id")[[*self.across, self.factor, "seed"]]
        return points.join(axes, on="run_id")

    @cached_property
    def comparison(self) -> pd.DataFrame:
        """A row for each cell and metric: the axes, the summary, the paired difference from the baseline."""
        if self.chosen.empty:
            return pd.DataFrame(columns=[*self.across, self.factor, "metric", "n", "mean"])
        frames = [self._compared(get_metric(name)) for name in self._metrics]
        return pd.concat(frames, ignore_index=True)

    @property
    def _metrics(self) -> list[str]:
        return list(dict.fromkeys([self.study.compare.metric, *COMPARED, *COST]))

    def _compared(self, metric: Metric) -> pd.DataFrame:
        margin = self.study.compare.margin if metric == self.metric else None
        criterion, keys = metric.criterion(margin), [*self.across, self.factor]
        missing: Missing = "left out" if metric.name in COST else "diverged"  # a short run has no throughput
        cells = summarize(self.chosen, keys, metric.name, missing=missing)
        cells.insert(len(keys), "metric", metric.name)
        told = ["images_per_statistic", "parameters", *([self.tuned] if self.tuned else [])]
        facts = self.chosen.groupby(keys, sort=False, observed=True)[told].first()
        cells = cells.merge(facts, left_on=keys, right_index=True, how="left")
        options: dict[str, Any] = {"across": self.across, "criterion": criterion, "missing": missing}
        marks = mark_best(self.chosen, metric.name, self.factor, **options)
        cells = cells.merge(marks[[*keys, "mark"]], on=keys, how="left")
        if self.baseline in set(self.chosen[self.factor]) and self.chosen[self.factor].nunique() > 1:
            pairs = compare_to_baseline(self.chosen, metric.name, self.factor, self.baseline, **options)
            pairs = pairs.rename(columns={"treatment": self.factor}).drop(columns=["diverged"])
            cells = cells.merge(pairs, on=keys, how="left")
        return self.in_order(cells)

    def in_order(self, cells: pd.DataFrame) -> pd.DataFrame:
        """A row a cell, sorted by the other axes (quantities by size, names as the study has them), then the factor."""
        named = {column(axis): [level.label for level in levels] for axis, levels in self.study.axes.items()}
        axes = [axis for axis in self.across if axis in cells]

        def rank(values: pd.Series) -> pd.Series:
            labels = named.get(str(values.name), [])
            if values.name != self.factor and pd.api.types.is_numeric_dtype(values):
                return values
            order = {label: index for index, label in enumerate(labels)}
            return values.map(lambda label: order.get(label, len(order)))

        return cells.sort_values([*axes, self.factor], key=rank, kind="stable")

    @cached_property
    def pairs(self) -> pd.DataFrame:
        """The rows of `comparison` in the study's metric that were compared with the baseline."""
        rows = self.comparison[self.comparison["metric"] == self.metric.name]
        return rows[rows["pairs"] > 0] if "pairs" in rows else rows.iloc[:0]

    def cell_name(self, row: Mapping[Any, Any]) -> str:
        """The other axes of a row in words: `batch_size 32`; empty without other axes."""
        return describe({axis: row[axis] for axis in self.across})

    def row_name(self, row: Mapping[Any, Any]) -> str:
        """The cell of a row in words: `group, batch_size 32`."""
        return ", ".join(part for part in (str(row[self.factor]), self.cell_name(row)) if part)

    @cached_property
    def answer(self) -> list[str]:
        """Two or three sentences built from the verdicts, never stronger than they are."""
        if self.pairs.empty:
            return [f"No comparison with {self.baseline} can be made yet: {counted([len(self.runs)], 'run')} done."]
        metric, compare, pairs = self.metric, self.study.compare, self.pairs
        told = pairs[pairs["verdict"].isin(["better", "worse"])]
        equal = pairs[pairs["verdict"].str.startswith("equivalent")]
        open_ = pairs[pairs["verdict"].str.startswith("not ")]
        margin = f"{compare.margin * metric.scale:g} {metric.difference_unit}"
        sentences = []
        family = f"{len(pairs)} paired comparison{'s' * (len(pairs) > 1)} with {self.baseline}, corrected by Holm"
        if len(told):
            parts = []
            for verdict, rows in told.groupby("verdict", sort=True):
                parts.append(f"{verdict} {metric.label} than {self.baseline}: {self._listed(rows, True)}")
            sentences.append(f"Told apart ({family}): " + ". And ".join(parts) + ".")
        else:
            sentences.append(f"Nothing can be told apart in {metric.label} ({family}).")
        if len(equal):
            sentences.append(f"Equivalent to {self.baseline} within {margin}: {self._listed(equal, False)}.")
        if len(open_):
            sentences.append(self._open_sentence(open_, margin))
        return sentences

    def _listed(self, rows: pd.DataFrame, with_difference: bool) -> str:
        """The comparisons one by one, or, where a sentence cannot hold them, how many of each level."""
        if len(rows) <= MAX_NAMED:
            return "; ".join(self._named(row, with_difference) for row in rows.to_dict("records"))
        all_of = self.pairs[self.factor].value_counts()
        counts = rows[self.factor].value_counts()
        parts = [f"{level} in {counts[level]} of {all_of[level]} cells" for level in self.levels if level in counts]
        return "; ".join(parts)

    def _named(self, row: Mapping[Any, Any], with_difference: bool) -> str:
        cell = self.cell_name(row)
        text = f"{row[self.factor]}" + (f" at {cell}" if cell else "")
        if with_difference:
            low, high = (self.metric.shown_number(row[key]) for key in ("diff_ci_low", "diff_ci_high"))
            interval = f", 95 % interval {low} to {high}" if pd.notna(row["diff_ci_low"]) else ""
            text += f" ({self.metric.shown_difference(row['diff'])}{interval})"
        return text

    def _open_sentence(self, rows: pd.DataFrame, margin: str) -> str:
        are, they = ("is", "it") if len(rows) == 1 else ("are", "they")
        text = f"{len(rows)} of {counted([len(self.pairs)], 'comparison')} {are} not distinguishable with "
        text += counted(rows["pairs"], "seed")
        needed = rows["seeds_needed"].dropna()
        if len(needed):
            seeds = counted([needed.min(), needed.max()], "seed")
            text += f": to find a difference of {margin}, {they} would need {seeds}"
        return text + "."

    @cached_property
    def design(self) -> list[tuple[str, str]]:
        """The design in name and value, for a reader who wants to know what was held equal."""
        study, plan = self.study, self.plan
        rows = [("study", study.name)]
        rows += [(column(axis), ", ".join(str(level.label) for level in levels)) for axis, levels in study.axes.items()]
        rows.append(("seeds", ", ".join(map(str, study.seeds))))
        budget = study.base.budget
        held = next(((k, v) for k in ("epochs", "steps", "samples") if (v := getattr(budget, k)) is not None), None)
        rows.append(("held equal", f"{held[1]:,} {held[0]}" if held else "one epoch"))
        rows.append(("runs", f"{len(self.runs)} of {len(plan.runs)} done"))
        for dataset, group in self.runs.groupby("dataset"):
            rows.append(("data set", f"{dataset} ({len(group)} runs)"))
        return rows

    @property
    def configuration(self) -> dict[str, Any]:
        """The resolved configuration that all runs share; what the axes change is left out."""
        changed = {key for levels in self.study.axes.values() for level in levels for key in level.changes} | {"seed"}
        first = dict(flatten(to_dict(self.plan.runs[0].config)))
        return {
            key: value
            for key, value in first.items()
            if key not in changed and value is not None and not key.startswith("logger.")
        }

    @property
    def mixed_code(self) -> bool:
        """Whether the runs come from more than one version of the code, or from uncommitted code."""
        return self.runs["git_commit"].nunique() > 1


def gather(study: str | Path, runs: Path) -> Evidence:
    """The evidence that is in `runs` for a study, finished or not."""
    loaded = load_study(study)
    get_metric(loaded.compare.metric)
    folder = runs / loaded.name
    plans = possible_plans(loaded)  # runs on the embedded digits belong to the study too, as a data set of their own
    cells = {run.id: run.cell for plan in plans for run in plan.runs}
    table = results_table(loaded.name, folder, cells)
    done = set(table["run_id"])
    plan = fullest(plans, done)
    unfinished = []
    for run in itertools.islice((run for run in plan.runs if run.id not in done), 10_000):
        now = state(folder / run.id)
        error = folder / run.id / ERROR
        why = error.read_text(encoding="utf-8").strip().splitlines()[-1] if now == "failed" else ""
        unfinished.append({"run_id": run.id, "run": f"{describe(run.cell)}, seed {run.seed}", "state": now, "why": why})
    return Evidence(plan, table, folder, unfinished)
