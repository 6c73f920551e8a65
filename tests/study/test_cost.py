"""Cells take turns and are timed by their own steps. No clock of the machine decides a test here."""

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from normbench.errors import NormbenchError, UsageError
from normbench.spec import RunConfig, run_config, run_id, steps
from normbench.store.folder import Progress
from normbench.study import load_study
from normbench.study.cost import (
    COLUMNS,
    ENDLESS,
    LEAST_STEPS,
    WARMUP_STEPS,
    Enough,
    Meter,
    cost_table,
    measured_cells,
    samples_per_second,
    timed_config,
    timings,
)
from normbench.train import train

from .conftest import Write, plan

TUNED: dict[str, Any] = {
    "grid": {"model.norm": ["none", "batch", "group"], "optimizer.lr": [0.1, 0.01], "data.batch_size": [8, 32]},
    "compare": {"factor": "model.norm", "baseline": "batch", "across": ["data.batch_size"], "tuned": "optimizer.lr"},
}


class Machine:
    """A machine whose clock moves by so many seconds a step, and which trains without end."""

    def __init__(self, seconds: Callable[[RunConfig], float], at_once: int = 1) -> None:
        self.now, self.seconds, self.at_once = 0.0, seconds, at_once
        self.trained: list[RunConfig] = []

    def clock(self) -> float:
        return self.now

    def execute(self, config: RunConfig, folder: Path, progress: Progress) -> None:
        self.trained.append(config)
        for done in itertools.count(self.at_once, self.at_once):
            self.now += self.at_once * self.seconds(config) * (10 if done <= WARMUP_STEPS else 1)
            progress(done)

    def measure(self, config: RunConfig) -> float:
        return samples_per_second(config, self.execute, Meter(1.0, self.clock))


@pytest.mark.parametrize("at_once", [1, 16])
def test_the_warm_up_is_not_timed(at_once: int) -> None:
    machine = Machine(lambda config: 0.25, at_once)
    assert machine.measure(run_config({"data.batch_size": 8, "data.name": "mnist_5k"})) == pytest.approx(8 / 0.25)


@pytest.mark.parametrize(("step", "timed"), [(0.001, 1000), (2.0, LEAST_STEPS)])
def test_a_measurement_is_long_enough_in_seconds_and_in_steps(step: float, timed: int) -> None:
    machine, told = Machine(lambda config: step), []
    meter = Meter(1.0, machine.clock, begin=lambda: told.append("begin"), wait=lambda: told.append("wait"))
    with pytest.raises(Enough):
        machine.execute(RunConfig(), Path(), meter)
    assert meter.steps == pytest.approx(timed, abs=1)
    assert meter.seconds == pytest.approx(meter.steps * step)
    assert told == ["wait", "begin", "wait"]


def test_a_run_that_ends_by_itself_was_not_timed() -> None:
    with pytest.raises(NormbenchError, match="ended before it was timed"):
        samples_per_second(run_config({"data.name": "mnist_5k"}), lambda *arguments: None, Meter(1.0))


def test_what_is_timed_is_training_alone(write: Write) -> None:
    config = dataclasses.replace(plan(write()).runs[0].config, probes={"layers": {}})
    timed = timed_config(config)
    assert steps(timed) == ENDLESS
    assert (timed.trainer.validations, timed.trainer.checkpoints, timed.probes, timed.logger.wandb) == (0, 0, {}, "off")
    assert (timed.model, timed.optimizer, timed.data) == (config.model, config.optimizer, config.data)


def test_a_real_run_is_timed_and_leaves_nothing(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    config, seen = plan(write()).runs[0].config, []

    def execute(config: RunConfig, folder: Path, progress: Progress) -> None:
        seen.append(folder.name)
        train(config, folder, progress)

    assert samples_per_second(config, execute, Meter(0.01)) > 0
    assert seen == [run_id(timed_config(config))]
    assert list((tmp_path / "temporary").iterdir()) == []


def test_every_round_visits_every_cell_and_neighbours_are_compared(write: Write) -> None:
    study = load_study(write(**TUNED))
    cells = measured_cells(plan(write(**TUNED)))
    order = [(run.cell["data.batch_size"], run.cell["model.norm"]) for run in cells]
    assert order == [(size, norm) for size in (8, 32) for norm in ("none", "batch", "group")]
    assert {run.config.optimizer.lr for run in cells} == {0.1}, "a tuned axis is measured at its first level"
    machine, told = Machine(lambda config: 0.1), []
    measured = timings(study, cells, machine.measure, 3, told.append)
    assert list(measured["round"]) == [1] * 6 + [2] * 6 + [3] * 6
    assert list(zip(measured["batch_size"], measured["norm"], strict=True)) == order * 3
    assert [(c.data.batch_size, c.model.norm) for c in machine.trained] == order * 3
    assert told == [1, 2, 3]


def test_skipped_cells_are_not_measured(write: Write) -> None:
    rule = {"when": {"model.norm": "group", "data.batch_size": 8}, "reason": "not today"}
    cells = measured_cells(plan(write(skip=[rule])))
    assert len(cells) == 5
    assert (8, "group") not in [(run.cell["data.batch_size"], run.cell["model.norm"]) for run in cells]


def test_a_cell_whose_run_is_that_of_another_is_measured_too(write: Write) -> None:
    grid = {"model.norm": ["none", "batch"], "trainer.virtual_devices": [1, 4]}
    made = plan(write(grid=grid))
    assert {run.cell["trainer.virtual_devices"] for run in made.runs if run.cell["model.norm"] == "none"} == {1}
    cells = [tuple(run.cell.values()) for run in measured_cells(made)]
    assert sorted(cells) == [("batch", 1), ("batch", 4), ("none", 1), ("none", 4)]


def test_the_table_has_the_ratio_to_the_baseline_of_the_same_round(write: Write) -> None:
    """The machine slows down by a half from round to round; `none` takes half the time of the others throughout."""
    study, cells = load_study(write()), measured_cells(plan(write()))
    machine = Machine(lambda config: 0)

    def seconds(config: RunConfig) -> float:
        slowness = 1.5 ** ((len(machine.trained) - 1) // len(cells))
        return slowness * (0.05 if config.model.norm == "none" else 0.1)

    machine.seconds = seconds
    table = cost_table(study, timings(study, cells, machine.measure, 4))
    assert list(table.columns) == ["batch_size", "norm", "dataset", *COLUMNS]
    assert list(table["norm"]) == ["none", "batch", "group"] * 2
    assert set(table["dataset"]) == {"mnist_5k"}
    assert set(table["rounds"]) == {4}
    for row in table.to_dict("records"):
        expected = 2 if row["norm"] == "none" else 1
        assert [row["low"], row["ratio"], row["high"]] == pytest.approx([expected] * 3)


def test_identical_cells_cost_the_same(write: Write) -> None:
    study = load_study(write())
    machine = Machine(lambda config: 0.1)
    table = cost_table(study, timings(study, measured_cells(plan(write())), machine.measure, 3))
    assert list(table["ratio"]) == pytest.approx([1] * 6)
    assert list(table["low"]) == pytest.approx([1] * 6)
    assert list(table["high"]) == pytest.approx([1] * 6)
    assert list(table["samples_per_second"]) == pytest.approx([80] * 3 + [320] * 3)


def test_one_round_has_no_interval(write: Write) -> None:
    study = load_study(write())
    machine = Machine(lambda config: 0.1)
    table = cost_table(study, timings(study, measured_cells(plan(write())), machine.measure, 1))
    assert table[["low", "high"]].loc[table["norm"] != "batch"].isna().all(axis=None)


def test_a_data_set_that_is_an_axis_is_no_second_column(write: Write) -> None:
    path = write(grid={"model.norm": ["none", "batch"], "data.name": ["mnist_5k"]}, base={"budget": {"steps": 10}})
    study = load_study(path)
    table = cost_table(study, timings(study, measured_cells(plan(path)), Machine(lambda config: 0.1).measure, 2))
    assert list(table.columns) == ["dataset", "norm", *COLUMNS]


def test_a_study_without_its_baseline(write: Write) -> None:
    path = write(skip=[{"when": {"model.norm": "batch"}, "reason": "not today"}])
    study = load_study(path)
    measured = timings(study, measured_cells(plan(path)), Machine(lambda config: 0.1).measure, 2)
    with pytest.raises(UsageError, match="'batch' is skipped in every cell"):
        cost_table(study, measured)
