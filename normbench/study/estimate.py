"""How long runs take: a rough figure before anything has run, corrected by what has."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

from normbench.errors import DataError
from normbench.models import macs
from normbench.spec import RunConfig, devices, layers, steps
from normbench.spec.counts import image_facts, norm_facts, train_images, validation_images

# Seconds on one core of a common server CPU, fitted to the 168 runs of the study batch_size as reports/ has them, to
# within 2 % of their sum (norm x network x batch size: measured .74 to 1.70 of it). Finished runs correct them.
START_SECONDS = 0.5
WORKER_SECONDS = 4.0  # until a worker process has imported torch and Lightning; the workers do so side by side
STEP_SECONDS = 2.5e-3
TRAINING_MACS_PER_SECOND = 27e9
EVALUATION_MACS_PER_SECOND = 25e9
UNKNOWN_MACS = 10_000_000
SAMPLE = 500  # results that are opened for an estimate, at most
RECENT = 5  # of each kind


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
    evaluation = evaluated_images(config) * cost / EVALUATION_MACS_PER_SECOND
    return START_SECONDS + training / devices(config) + evaluation


def evaluated_images(config: RunConfig) -> int:
    """Images that a resolved run evaluates, with those that running averages are recomputed over."""
    trainer, test, held_out = config.trainer, image_facts(config.data).test, validation_images(config)
    times = min(trainer.validations, steps(config))
    at_end = test + held_out * (times > 0)
    images = at_end + (trainer.validation_images or held_out) * max(0, times - 1) + test * len(trainer.corruptions)
    # A norm without running averages is not evaluated a second time.
    if trainer.precise_statistics and not norm_facts(config).same_in_eval:
        images += at_end + min(trainer.precise_statistics, train_images(config))
    return images


class Measured:
    """How long runs take on this machine, from how long others took.

    A run takes its estimate times the ratio of measured to estimated seconds of runs of its kind; of a kind that has
    not been measured, times the ratio of all that have.

    Args:
        own: Runs of the study, each with a function that gives the seconds it took on this machine (None: not known).
            The latest come first: a machine is not always equally busy.
        others: Runs of other studies on this machine with the seconds they took, the latest first; looked at only where
            a kind of `wanted` was not measured among `own`.
        wanted: The runs whose seconds will be asked for.
    """

    def __init__(
        self,
        own: Iterable[tuple[RunConfig, Callable[[], float | None]]],
        others: Iterable[tuple[RunConfig, float]] = (),
        wanted: Sequence[RunConfig] = (),
    ) -> None:
        self.own, self.others = _ratios(own), dict[Any, list[float]]()
        if {_kind(config) for config in wanted} - self.own.keys():
            self.others = _ratios((config, lambda seconds=seconds: seconds) for config, seconds in others)  # type: ignore[misc]

    def seconds(self, config: RunConfig) -> float:
        """Seconds that a resolved run takes on one worker."""
        kind = _kind(config)
        found = self.own.get(kind) or self.others.get(kind) or _all(self.own) or _all(self.others) or [1.0]
        return estimate(config) * statistics.median(found)

    @property
    def basis(self) -> str:
        """What the figures rest on, in a few words."""
        if count := len(_all(self.own)):
            return f"from {count} finished run{'s' * (count != 1)}"
        if count := len(_all(self.others)):
            return f"from {count} finished run{'s' * (count != 1)} of other studies"
        return "a rough figure: nothing of this study has run yet"


def seconds_left(
    runs: Sequence[Planned],
    done: Mapping[str, Callable[[], float | None]],
    others: Iterable[tuple[RunConfig, float]] = (),
) -> tuple[float, str]:
    """Seconds of work on one worker for the runs without a result, and what the figure rests on.

    Args:
        runs: The runs of a plan.
        done: For each finished run's id, the latest first, a function that gives the wall-clock seconds it took.
        others: See `Measured`.
    """
    configs = {run.id: run.config for run in runs}
    left = [run.config for run in runs if run.id not in done]
    measured = Measured(((configs[run_id], read) for run_id, read in done.items() if run_id in configs), others, left)
    return sum(map(measured.seconds, left)), measured.basis


def _ratios(runs: Iterable[tuple[RunConfig, Callable[[], float | None]]]) -> dict[Any, list[float]]:
    """Measured by estimated seconds of the first few runs of each kind."""
    found: dict[Any, list[float]] = {}
    reads = 0
    for config, read in runs:
        kind = _kind(config)
        if len(found.get(kind, ())) < RECENT and reads < SAMPLE:
            reads += 1
            # Images of another study may be gone since.
            with suppress(DataError):
                if (seconds := read()) is not None:
                    ratio = seconds / estimate(config)
                    found.setdefault(kind, []).append(ratio)
    return found


def _all(ratios: Mapping[Any, list[float]]) -> list[float]:
    return [ratio for found in ratios.values() for ratio in found]


def _kind(config: RunConfig) -> Any:
    """Runs of one kind are estimated equally well or badly."""
    trainer = config.trainer
    return (
        config.model.name,
        config.model.norm,
        config.data.batch_size,
        devices(config),
        trainer.accelerator,
        trainer.precision,
    )
