"""What a study's networks take to answer, each alone on the machine and in turns, with their norms and folded.

As `cost` measures training. Weights are those of the start, which cost what trained ones do, in float32 whatever the
runs' precision, and in the memory layout of the runs (`trainer.channels_last`); a few batches of noise have moved the
running statistics. A network without norm takes part whether the study has one or not: all are compared with it.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor, nn

from normbench.models import build_model
from normbench.spec import replace
from normbench.spec.counts import device_batch, image_facts
from normbench.stats import cost_ratios
from normbench.store import axis_columns
from normbench.study.file import Study
from normbench.study.plan import PlannedRun
from normbench.train.fold import folded
from normbench.train.randomness import preserved_generators, seed_generators
from normbench.train.settings import process_settings

NONE = "none"
MOVED, WARMUP_PASSES, LEAST_PASSES = 3, 5, 10
COLUMNS = ("baseline", "rounds", "ratio", "low", "high", "milliseconds")
Clock = Callable[[], float]


@dataclass(frozen=True)
class Network:
    """One that takes turns.

    Args:
        run: The cell that it belongs to.
        fused: Whether its norms were folded into the layers before them.
        net: The network, in evaluation.
        images: The batch that it answers.
    """

    run: PlannedRun
    fused: bool
    net: nn.Module
    images: Tensor


def axes_of_networks(study: Study, cells: Sequence[PlannedRun]) -> list[str]:
    """The axes on which the networks depend, and the factor, last: others (batch size, optimizer) do not slow them."""
    found = []
    for axis in study.compare.across:
        others: dict[tuple[str, ...], set[str]] = {}
        for run in cells:
            rest = tuple(str(label) for name, label in run.cell.items() if name != axis)
            others.setdefault(rest, set()).add(repr((run.config.model, image_facts(run.config.data).image)))
        if any(len(networks) > 1 for networks in others.values()):
            found.append(axis)
    return [*found, study.compare.factor]


def networks(cells: Sequence[PlannedRun], axes: Sequence[str], images: int) -> list[Network]:
    """The network of each cell of those axes, and where some of its norms can be folded, it without them.

    Where no level of the factor is without norm, such a network comes first.

    Args:
        cells: A run of each cell.
        axes: What `axes_of_networks` returned.
        images: Images that are answered at a time.
    """
    found: list[Network] = []
    known = set()
    with preserved_generators():
        for run in _with_none(cells, axes):
            cell = tuple(run.cell[axis] for axis in axes)
            if cell in known:
                continue
            known.add(cell)
            facts, device = image_facts(run.config.data), run.config.trainer.accelerator
            seed_generators(0, "latency")
            net = build_model(run.config.model, facts.image, facts.classes)
            with torch.no_grad():
                for _ in range(MOVED):  # so that running statistics are as general as trained ones
                    net(torch.randn(device_batch(run.config), *facts.image))
            # As training has it: what it gives is the same, and its time is not.
            layout = torch.channels_last if run.config.trainer.channels_last else torch.contiguous_format
            net.eval().to(memory_format=layout)
            batch = torch.randn(images, *facts.image)
            found.append(Network(run, False, net.to(device), batch.to(device)))
            without, names = folded(net.cpu(), batch)
            if names:
                found.append(Network(run, True, without.to(memory_format=layout).to(device), batch.to(device)))
            net.to(device)
    return found


def _with_none(cells: Sequence[PlannedRun], axes: Sequence[str]) -> Iterator[PlannedRun]:
    """The cells, and before the first of those levels of the axes where none is without norm, one that is."""
    *across, factor = axes
    label = _without_norm(cells, factor)

    def levels(run: PlannedRun) -> tuple[object, ...]:
        return tuple(run.cell[axis] for axis in across)

    known = {levels(run) for run in cells if str(run.cell[factor]) == label}
    for run in cells:
        if levels(run) not in known:
            known.add(levels(run))
            plain = replace(run.config, {"model.norm": NONE})
            yield dataclasses.replace(run, cell={**run.cell, factor: label}, config=plain)
        yield run


def _without_norm(cells: Sequence[PlannedRun], factor: str) -> str:
    """The label of the factor's level that is without norm wherever it stands: the study's own, if it has one."""
    normed = {str(run.cell[factor]) for run in cells if run.config.model.norm != NONE}
    own = (label for run in cells if (label := str(run.cell[factor])) not in normed)
    return next(own, NONE if NONE not in normed else "without norm")


def pass_seconds(network: Network, limit: float, clock: Clock = time.perf_counter) -> float:
    """Seconds of one forward pass: the mean over those of `limit` seconds, after a warm-up.

    Args:
        network: What answers.
        limit: How long to time; at least ten passes are.
        clock: A clock, in seconds.
    """
    trainer = network.run.config.trainer
    with process_settings(trainer.threads, trainer.deterministic), torch.inference_mode():
        for _ in range(WARMUP_PASSES):
            network.net(network.images)
        _wait(network.images.device)
        start, passes = clock(), 0
        while passes < LEAST_PASSES or clock() - start < limit:
            network.net(network.images)
            passes += 1
        _wait(network.images.device)
        return (clock() - start) / passes


def _wait(device: torch.device) -> None:
    """Waits for what an accelerator was given to do. (Not run on one in the tests.)"""
    if device.type != "cpu":
        getattr(torch, device.type).synchronize()


def latencies(
    study: Study,
    taking_turns: Sequence[Network],
    axes: Sequence[str],
    measure: Callable[[Network], float],
    rounds: int,
    told: Callable[[int], object] = lambda number: None,
) -> pd.DataFrame:
    """Measures all networks in turns, `rounds` times over.

    Args:
        study: The study of the networks.
        taking_turns: The networks, in the order in which they take turns.
        axes: What `axes_of_networks` returned.
        measure: Seconds that a network takes to answer.
        rounds: How often each is measured.
        told: Called with the number of each finished round, from 1.

    Returns:
        A row a measurement: the columns of the axes, `dataset`, `fused`, `round` (from 1), `milliseconds`.
    """
    names = axis_columns(list(study.axes))
    rows = []
    for number in range(1, rounds + 1):
        for network in taking_turns:
            run = network.run
            labels = {"dataset": run.config.data.name, **{names[axis]: run.cell[axis] for axis in axes}}
            rows.append(
                {**labels, "fused": network.fused, "round": number, "milliseconds": 1000 * measure(network)},
            )
        told(number)
    return pd.DataFrame(rows)


def latency_baseline(study: Study, cells: Sequence[PlannedRun]) -> str:
    """The level that the others are compared with: the one without norm, which `networks` adds where it is missing."""
    return _without_norm(cells, study.compare.factor)


def latency_table(study: Study, measured: pd.DataFrame, axes: Sequence[str], baseline: str) -> pd.DataFrame:
    """Latency of every network as a ratio to the baseline's, not folded: what inference.csv holds.

    Args:
        study: The study.
        measured: What `latencies` returned.
        axes: What `axes_of_networks` returned.
        baseline: What `latency_baseline` returned.

    Returns:
        A row a network, in the order in which they were measured: the columns of the axes, `dataset`, `fused`,
        `baseline`, `rounds`, `ratio`, `low` and `high` (milliseconds of a pass as a multiple of the baseline's at the
        same levels of the other axes, above 1 is slower: geometric mean over the rounds and its 95 % interval by
        Student's t over log-ratios, each for itself; NaN for fewer than two rounds, or without the baseline), and
        `milliseconds` (median over the rounds).
    """
    columns = axis_columns(list(study.axes))
    *across, factor = (columns[axis] for axis in axes)
    names = measured.assign(variant=[_variant(*pair) for pair in zip(measured[factor], measured["fused"], strict=True)])
    table = cost_ratios(names, "variant", _variant(baseline, False), across=across, cost="milliseconds")
    table = table.drop(columns="baseline").rename(columns={"cost": "milliseconds"}).assign(baseline=baseline)
    keys = [*across, factor, *(["dataset"] if "dataset" not in (*across, factor) else []), "fused"]
    order = names[[*keys, "variant"]].drop_duplicates()
    return order.merge(table, on=[*across, "variant"], how="left")[[*keys, *COLUMNS]]


def _variant(label: object, fused: bool) -> str:
    return f"{label}, folded" if fused else str(label)
