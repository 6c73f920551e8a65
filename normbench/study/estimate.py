"""How long runs take: a rough figure before anything has run, corrected by what has."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from normbench.models import macs
from normbench.spec import RunConfig, devices, layers, steps
from normbench.spec.counts import validation_images
from normbench.spec.registry import DATASETS

# Seconds on one core of a common server CPU, measured with the digit CNN. Finished runs correct them.
START_SECONDS = 0.5
WORKER_SECONDS = 4.0  # until a worker process has imported torch and Lightning; the workers do so side by side
STEP_SECONDS = 2.5e-3
TRAINING_MACS_PER_SECOND = 35e9
EVALUATION_MACS_PER_SECOND = 25e9
UNKNOWN_MACS = 10_000_000
SAMPLE = 500


class Planned(Protocol):
    """A run with an id, a cell and a resolved configuration."""

    @property
    def id(self) -> str: ...
    @property
    def config(self) -> RunConfig: ...


def estimate(config: RunConfig) -> float:
    """Roughly how many seconds a resolved run takes on one CPU core, evaluation included."""
    walk = layers(config)
    cost = macs(walk) if walk else UNKNOWN_MACS
    total = steps(config)
    training = total * STEP_SECONDS + total * config.data.batch_size * 3 * cost / TRAINING_MACS_PER_SECOND
    test = DATASETS.get(config.data.name).facts["facts"](config.data).test
    images = test + validation_images(config) * config.trainer.validations
    return START_SECONDS + training / devices(config) + images * cost / EVALUATION_MACS_PER_SECOND


def seconds_left(runs: Sequence[Planned], done: Mapping[str, Callable[[], float | None]]) -> tuple[float, str]:
    """Seconds of work on one worker for the runs without a result, and what the figure rests on.

    Args:
        runs: The runs of a plan.
        done: For each finished run's id, a function that gives the wall-clock seconds it took.
    """
    left = [run for run in runs if run.id not in done]
    ratios: dict[Any, list[float]] = {}
    finished = [run for run in runs if run.id in done]
    for run in finished[:: max(1, len(finished) // SAMPLE)]:
        seconds = done[run.id]()
        if seconds is not None:
            ratios.setdefault(_kind(run.config), []).append(seconds / estimate(run.config))
    if not ratios:
        return sum(estimate(run.config) for run in left), "a rough figure: nothing of this study has run yet"
    whole = statistics.median([ratio for found in ratios.values() for ratio in found])
    by_kind = {kind: statistics.median(found) for kind, found in ratios.items()}
    count = sum(map(len, ratios.values()))
    return (
        sum(estimate(run.config) * by_kind.get(_kind(run.config), whole) for run in left),
        f"from {count} finished run{'s' * (count != 1)}",
    )


def _kind(config: RunConfig) -> Any:
    """Runs of one kind are estimated equally well or badly."""
    return config.model.name, config.model.norm, config.data.batch_size, devices(config)
