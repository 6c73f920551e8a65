"""What training costs, cell by cell: each cell alone on the machine, in turns (A B C A B C).

Training times of a study's own runs say little about cost, since runs share the machine. Here every cell is trained
for a moment by itself, by the same code, and all cells take turns for several rounds, so that what else the machine
does hits all of them; ratios are taken within a round.
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from normbench.errors import NormbenchError, UsageError
from normbench.spec import RunConfig, replace, resolve, run_id
from normbench.stats import cost_ratios
from normbench.store import axis_columns
from normbench.store.folder import Progress
from normbench.study.file import Study
from normbench.study.plan import Plan, PlannedRun

WARMUP_STEPS = 10  # at least: memory is asked for, and libraries choose their code
LEAST_STEPS = 10  # timed at least, however long they take
ENDLESS = 10_000_000  # optimizer steps: a measurement ends before its budget does
COLUMNS = ("baseline", "rounds", "ratio", "low", "high", "samples_per_second")

Execute = Callable[[RunConfig, Path, Progress], object]
Clock = Callable[[], float]


class Enough(Exception):  # noqa: N818  (nothing went wrong)
    """The run was timed long enough."""


class Meter:
    """Times a run through its progress, from the end of its warm-up, and ends it by raising Enough.

    Args:
        seconds: How long to time.
        clock: A clock, in seconds.
        begin: Called once, between warm-up and timing.
        wait: Called before the clock is read at either end: waits for what a GPU was given to do.
    """

    def __init__(
        self,
        seconds: float,
        clock: Clock = time.perf_counter,
        begin: Callable[[], object] = lambda: None,
        wait: Callable[[], object] = lambda: None,
    ) -> None:
        self.limit, self.clock, self.begin, self.wait = seconds, clock, begin, wait
        self.steps, self.seconds = 0, 0.0
        self._first: tuple[int, float] | None = None

    def __call__(self, step: int) -> None:
        """Takes news of optimizer steps; they may come one at a time or several at once."""
        if self._first is None:
            if step >= WARMUP_STEPS:
                self.wait()
                self.begin()
                self._first = step, self.clock()
            return
        first, since = self._first
        if step - first < LEAST_STEPS or self.clock() - since < self.limit:
            return
        self.wait()
        self.steps, self.seconds = step - first, self.clock() - since
        raise Enough


def samples_per_second(config: RunConfig, execute: Execute, meter: Meter) -> float:
    """Training images a second of a run: its own steps, without evaluation, checkpoints, probes and start-up.

    Args:
        config: The run; its budget does not count.
        execute: Trains a configuration in a folder, telling the optimizer steps done.
        meter: What times it.
    """
    endless = timed_config(config)
    with tempfile.TemporaryDirectory(prefix="normbench-cost-") as root:
        try:
            execute(endless, Path(root, run_id(endless)), meter)
        except Enough:
            return meter.steps * config.data.batch_size / meter.seconds
    raise NormbenchError("the run ended before it was timed")


def timed_config(config: RunConfig) -> RunConfig:
    """The run without an end, and with nothing but training: what is measured of it."""
    keys = {
        **dict.fromkeys(("budget.epochs", "budget.samples"), None),
        "budget.steps": ENDLESS,
        "trainer.validations": 0,
        "trainer.loss_points": 1,
        "trainer.checkpoints": 0,
        "trainer.keep": "none",
        "trainer.fast_dev_run": 0,
        "logger.wandb": "off",
    }
    return resolve(dataclasses.replace(replace(config, keys), probes={}))


def measured_cells(plan: Plan) -> list[PlannedRun]:
    """A run of each cell that a report compares, neighbours in time where they are compared with each other.

    Of a tuned axis the first level stands for all: a learning rate costs nothing. A run that stands for several cells
    is timed in each, beside the baseline of that cell.
    """
    study = plan.study
    place = {axis: {level.label: n for n, level in enumerate(levels)} for axis, levels in study.axes.items()}
    order = [*study.compare.across, study.compare.factor, *([study.compare.tuned] if study.compare.tuned else [])]
    first = [run for run in plan.placed if run.seed == study.seeds[0]]
    first.sort(key=lambda run: [place[axis][run.cell[axis]] for axis in order])
    cells: dict[tuple[Any, ...], PlannedRun] = {}
    for run in first:
        cells.setdefault(tuple(run.cell[axis] for axis in _axes(study)), run)
    return list(cells.values())


def _axes(study: Study) -> list[str]:
    return [*study.compare.across, study.compare.factor]


def timings(
    study: Study,
    cells: Sequence[PlannedRun],
    measure: Callable[[RunConfig], float],
    rounds: int,
    told: Callable[[int], object] = lambda number: None,
) -> pd.DataFrame:
    """Measures all cells in turns, `rounds` times over.

    Args:
        study: The study of the cells.
        cells: The cells, in the order in which they take turns.
        measure: Training images a second of a configuration.
        rounds: How often each cell is measured.
        told: Called with the number of each finished round, from 1.

    Returns:
        A row a measurement: the columns of the axes, `dataset`, `round` (from 1), `samples_per_second`.
    """
    names = axis_columns(list(study.axes))
    rows = []
    for number in range(1, rounds + 1):
        for run in cells:
            labels = {"dataset": run.config.data.name, **{names[axis]: run.cell[axis] for axis in _axes(study)}}
            rows.append({**labels, "round": number, "samples_per_second": measure(run.config)})
        told(number)
    return pd.DataFrame(rows)


def cost_table(study: Study, measured: pd.DataFrame) -> pd.DataFrame:
    """Cost of every cell as a ratio to the baseline's: what cost.csv holds.

    Args:
        study: The study.
        measured: What `timings` returned.

    Returns:
        A row a cell, in the order in which they were measured: the columns of the axes (as `axis_columns` names
        them: across, then the factor), `dataset`, `baseline` (its label), `rounds` (with both), `ratio`, `low` and
        `high` (training images a second as a multiple of the baseline's at the same levels of the other axes, above 1
        is faster: geometric mean over the rounds and its 95 % interval by Student's t over log-ratios, each for
        itself; NaN for fewer than two rounds), and `samples_per_second` (median over the rounds).

    Raises:
        UsageError: The baseline is skipped everywhere.
    """
    names = axis_columns(list(study.axes))
    axes = [names[axis] for axis in _axes(study)]
    *across, factor = axes
    baseline = study.compare.baseline
    if not (measured[factor] == baseline).any():
        raise UsageError(f"{study.path}: the baseline {baseline!r} is skipped in every cell: nothing to compare with")
    table = cost_ratios(measured, factor, baseline, across=across, cost="samples_per_second")
    table = table.rename(columns={"cost": "samples_per_second"})
    order = measured[[*axes, *(["dataset"] if "dataset" not in axes else [])]].drop_duplicates()
    return order.merge(table, on=axes, how="left")[[*order.columns, *COLUMNS]]
