"""`normbench cost`: what each cell of a study costs to train, or to answer with, measured alone and in turns."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from normbench import environ
from normbench.cli.devices import refuse_missing_devices
from normbench.cli.launching import add_data_dir, use_data_dir
from normbench.cli.options import folder, number, positive, seconds
from normbench.cli.study import add_study, chosen_study
from normbench.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

    from normbench.report.tables import Grid
    from normbench.spec import RunConfig
    from normbench.study import PlannedRun, Study

ROUNDS, SECONDS, IMAGES = 5, 1.0, 1
START_SECONDS = 1.0  # of a measurement, before it is timed: a model is built and warmed up
BUSY = 0.5  # load above which something else is computing


def add_commands(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Adds the command to the parser."""
    cost = add("cost", _cost, "measure what each cell of a study costs to train, or to answer with, alone and in turns")
    add_study(cost)
    add_data_dir(cost)
    cost.add_argument("--reports", type=folder, default=Path("reports"), help="folder of all reports")
    cost.add_argument("--rounds", type=positive, default=ROUNDS, help=f"turns of every cell (default: {ROUNDS})")
    cost.add_argument(
        "--seconds", type=seconds, default=SECONDS, help=f"timed in each turn, after a warm-up (default: {SECONDS:g})"
    )
    cost.add_argument(
        "--inference",
        action="store_true",
        help="time forward passes in evaluation, norms folded where they can be",
    )
    cost.add_argument("--images", type=positive, metavar="N", help="with --inference: images of a pass (default: 1)")


def _cost(options: argparse.Namespace) -> int:
    from normbench.launch.study import falls_back
    from normbench.report.tables import csv_text, markdown
    from normbench.store import make_folder
    from normbench.store.files import write_atomically
    from normbench.study import make_plan
    from normbench.study.cost import measured_cells

    if options.images and not options.inference:
        raise UsageError("--images N goes with --inference: training takes the batches of the study")
    use_data_dir(options)
    study = chosen_study(options)
    plan = make_plan(study, fallback=falls_back(study))
    cells = measured_cells(plan)
    refuse_missing_devices(run.config for run in cells)
    target = options.reports / study.name
    make_folder(target)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load > BUSY:
        print(f"warning: the machine is busy (load {load:.1f}): what is measured is rough", file=sys.stderr)
    name, measure = ("inference", _inference) if options.inference else ("cost", _training)
    table, grid = measure(options, study, cells)
    for file, text in {f"{name}.csv": csv_text(table), f"{name}.md": f"{markdown(grid)}\n{_machine(load)}\n"}.items():
        write_atomically(target / file, text)
        print(target / file)
    return 0


def _training(options: argparse.Namespace, study: Study, cells: Sequence[PlannedRun]) -> tuple[pd.DataFrame, Grid]:
    """What training costs: as cost.csv holds it, and as people read it."""
    from normbench.study.cost import cost_table, timings

    _announce(options, study, number(len(cells), "cell"), len(cells))
    with environ.changed({"NORMBENCH_WANDB": "off"}):  # nothing of a measurement goes to W&B
        measure = partial(_measured, seconds=options.seconds)
        measured = timings(study, cells, measure, options.rounds, _tell(options.rounds))
    table = cost_table(study, measured)
    return table, _grid(study, table, options.seconds)


def _inference(options: argparse.Namespace, study: Study, cells: Sequence[PlannedRun]) -> tuple[pd.DataFrame, Grid]:
    """What answering costs: as inference.csv holds it, and as people read it."""
    from normbench.study.latency import (
        axes_of_networks,
        latencies,
        latency_baseline,
        latency_table,
        networks,
        pass_seconds,
    )

    axes, images = axes_of_networks(study, cells), options.images or IMAGES
    turns = networks(cells, axes, images)
    _announce(options, study, f"{number(len(turns), 'network')} on {number(images, 'image')}", len(turns))
    measure = partial(pass_seconds, limit=options.seconds)
    measured = latencies(study, turns, axes, measure, options.rounds, _tell(options.rounds))
    table = latency_table(study, measured, axes, latency_baseline(study, cells))
    return table, _latency_grid(study, table, axes, options.seconds, images)


def _announce(options: argparse.Namespace, study: Study, what: str, turns: int) -> None:
    from normbench.launch.progress import duration

    rough = options.rounds * turns * (options.seconds + (0 if options.inference else START_SECONDS))
    rounds = number(options.rounds, "round")
    print(f"{study.name}: {what} in turns, {rounds}, about {duration(rough)}", file=sys.stderr)


def _measured(config: RunConfig, seconds: float) -> float:
    """Training images a second of a cell, trained in this process or in one a device."""
    from normbench.launch.ranks import execute
    from normbench.spec import devices
    from normbench.study.cost import Meter, samples_per_second

    meter = Meter(seconds)
    if config.trainer.accelerator == "cuda" and devices(config) == 1:  # (not run in the tests)
        import torch

        meter.wait = torch.cuda.synchronize
    return samples_per_second(config, execute, meter)


def _tell(rounds: int) -> Callable[[int], None]:
    return lambda done: print(f"round {done} of {rounds} is done", file=sys.stderr)


def _grid(study: Study, table: pd.DataFrame, seconds: float) -> Grid:
    """The table as people read it."""
    import pandas as pd

    from normbench.report.tables import Cell, Grid
    from normbench.store import axis_columns

    names = axis_columns(list(study.axes))
    axes = [names[axis] for axis in (*study.compare.across, study.compare.factor)]
    rows = []
    for row in table.to_dict("records"):
        known = pd.notna(row["ratio"])
        interval = f"{row['low']:.2f} to {row['high']:.2f}" if pd.notna(row["low"]) else "none: one round"
        if row[axes[-1]] == study.compare.baseline:
            interval = "the baseline"
        cells = [
            Cell(f"{row['samples_per_second']:,.0f}", value=row["samples_per_second"]),
            Cell(f"{row['ratio']:.2f}" if known else "—", value=row["ratio"] if known else None),
            Cell(interval if known else "none: no baseline here"),
        ]
        rows.append((", ".join(f"{axis} {row[axis]}" for axis in axes), cells))
    rounds = int(table["rounds"].max())
    note = (
        f"Training alone, each cell by itself on the machine, in turns: {number(rounds, 'round')} of {seconds:g} s. "
        f"Ratio: images a second as a multiple of {study.compare.baseline}'s in the same round (geometric mean, and "
        "95 % interval of each ratio by itself); above 1 is faster."
    )
    return Grid("Cost of training", ["images/s", "ratio", "95 % interval"], rows, note, words=("95 % interval",))


def _latency_grid(study: Study, table: pd.DataFrame, axes: Sequence[str], seconds: float, images: int) -> Grid:
    """The table as people read it."""
    import pandas as pd

    from normbench.report.tables import Cell, Grid
    from normbench.store import axis_columns

    names = axis_columns(list(study.axes))
    columns = [names[axis] for axis in axes]
    rows = []
    for row in table.to_dict("records"):
        known, fused = pd.notna(row["ratio"]), bool(row["fused"])
        interval = f"{row['low']:.2f} to {row['high']:.2f}" if pd.notna(row["low"]) else "none: one round"
        if str(row[columns[-1]]) == row["baseline"] and not fused:
            interval = "the baseline"
        cells = [
            Cell(f"{row['milliseconds']:.3f}", value=row["milliseconds"]),
            Cell(f"{row['ratio']:.2f}" if known else "—", value=row["ratio"] if known else None),
            Cell(interval if known else "none: no baseline here"),
        ]
        label = ", ".join(f"{column} {row[column]}" for column in columns)
        rows.append((f"{label}, folded" if fused else label, cells))
    rounds, baseline = int(table["rounds"].max()), table["baseline"].iloc[0]
    note = (
        f"A forward pass of {number(images, 'image')} in evaluation, in float32 and in the memory layout that the runs "
        f"train in (trainer.channels_last), each network alone on the machine, in turns: {number(rounds, 'round')} of "
        f"{seconds:g} s. Ratio: time as a multiple of {baseline}'s "
        "in the same round (geometric mean, and 95 % interval of each ratio by itself); above 1 is slower. Folded: "
        "norms that are fixed in evaluation are part of the layer before them."
    )
    return Grid("Cost of an answer", ["ms", "ratio", "95 % interval"], rows, note, words=("95 % interval",))


def _machine(load: float) -> str:
    import torch

    from normbench.machine import cores
    from normbench.train.environment import processor

    return f"{processor()}, {number(cores(), 'core')}, torch {torch.__version__}, load {load:.1f} at the start."
