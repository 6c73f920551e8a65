"""The Lightning callback that mirrors a run folder to W&B while it is written. It only reads.

Training never waits for W&B: it hands over what was added to metrics.csv and goes on. Only the end of a run waits,
and not for ever.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import Any, cast

import lightning.pytorch as pl

from normbench.spec import RunConfig
from normbench.spec.counts import evenly_spread
from normbench.store import Store
from normbench.store.folder import METRICS
from normbench.tracking.client import missing, say_once, wandb_module
from normbench.tracking.identity import Labels, Places
from normbench.tracking.mode import asked, say_not_made
from normbench.tracking.points import Follower
from normbench.tracking.writer import Writer

LOOK_SECONDS = 1.0  # between two looks at metrics.csv while training


class Mirror(pl.Callback):
    """Mirrors a run to W&B, from the process of rank 0 alone.

    Example:
        >>> with Mirror(config, folder, steps(config), "founding", {"model.norm": "batch"}) as mirror:  # doctest: +SKIP
        ...     mirror.result = train(config, folder, progress, mirror.callbacks)

    Args:
        config: The resolved run.
        folder: Its folder, in the store that knows which studies use it.
        steps: Optimizer steps of the whole budget.
        study: The study that trains the run; None: none does.
        cell: The run's labels in that study, by axis.
    """

    sees_blocks = True  # it looks at metrics.csv; where histograms are made, which are of a step, there are no blocks

    def __init__(
        self, config: RunConfig, folder: Path, steps: int, study: str | None = None, cell: Labels | None = None
    ) -> None:
        self.config, self.folder, self.steps = config, folder, steps
        self.places = places_of(folder, study, cell)
        self.result: dict[str, Any] | None = None
        self.wanted = asked(config.logger) != "off" and not missing("wandb")
        points = min(config.logger.histograms, steps)
        self.histograms = frozenset(evenly_spread(steps, points) if points and self.wanted else ())
        self.media: dict[str, Any] = {}
        self.follower = Follower(folder / METRICS)
        self.writer: Writer | None = None
        self.looked = 0.0
        self.layers: Any = None
        self.predictions: Any = None
        if not self.wanted:
            say_not_made(config.logger)

    @property
    def callbacks(self) -> list[pl.Callback]:
        """This callback where something is mirrored; else none, since each costs time in every step."""
        return [self] if self.wanted else []

    def __enter__(self) -> Mirror:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.finish(self.result)

    def finish(self, result: Mapping[str, Any] | None) -> None:
        """Closes the W&B run: with its result, or as failed. Doing it twice is doing it once."""
        if self.writer is not None:
            self._look()
            writer, self.writer = self.writer, None
            writer.close(result)

    def _look(self) -> None:
        """Hands over what is new in metrics.csv; media go with the last of it."""
        if self.writer is not None and (fresh := self.follower.read()):
            self.writer.jobs.put((fresh, self.media))
            self.media = {}
        self.looked = time.monotonic()

    # Lightning's hooks.

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.histograms and trainer.is_global_zero:
            from normbench.tracking.media import LayerHistograms

            self.layers = LayerHistograms()
            wandb_module()  # imported here, before the training clock starts to count

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.is_global_zero or self.writer is not None:
            return
        self.writer = Writer(self.config, self.folder, self.places)
        self.writer.start()
        self._look()  # a resumed run has points already

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self.layers and trainer.global_step + 1 in self.histograms:
            self.layers.arm(pl_module.net)

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Any) -> None:
        if self.layers:
            self.layers.gradients(pl_module.net)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.layers and self.layers.complete:
            with _clock_stopped(trainer):
                self.media |= self.layers.take()
                self._look()
        elif time.monotonic() - self.looked >= LOOK_SECONDS:
            self._look()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.writer is not None:
            self.writer.may_open.set()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._look()

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        logger = self.config.logger
        if logger.confusion_matrix or logger.misclassified:
            from normbench.tracking.media import TestPredictions

            self.predictions = TestPredictions(cast(Any, pl_module).net)

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # All processes gather; a process that left early would keep the others waiting.
        answers = self.predictions.gather() if self.predictions else None
        if self.writer is not None:
            with _reported("the pictures of the trained network"):
                self._picture(trainer, cast(Any, pl_module).net, answers)
            self._look()

    def _picture(self, trainer: pl.Trainer, net: Any, answers: Any) -> None:
        from normbench.tracking.media import confusion_matrix, filters, misclassified

        logger, data = self.config.logger, cast(Any, trainer).datamodule
        if logger.filters:
            found = filters(net, data.image_shape)
            self.media |= found
            if not found:
                say_once("wandb: logger.filters: the first layer of this model has no filters to draw")
        if answers:
            (predicted, sure), split = answers, data.test_dataloader().split
            if len(predicted) != len(split):
                say_once("wandb: not all test images were looked at (fast_dev_run): no confusion matrix of them")
                return
            if logger.confusion_matrix:
                self.media |= confusion_matrix(split.labels, predicted, data.num_classes)
            if logger.misclassified:
                self.media |= misclassified(split, predicted, sure, logger.misclassified)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self.finish(None)


def places_of(folder: Path, study: str | None, cell: Labels | None) -> Places:
    """The studies that use a run, the one that trains it first, each with the labels that are known."""
    places: dict[str, Labels] = {study: dict(cell or {})} if study else {}
    store = Store(folder.parent)
    for name in store.studies_of(folder.name):
        places.setdefault(name, store.labels_of(name, folder.name))
    return places


def _clock_stopped(trainer: pl.Trainer) -> AbstractContextManager[None]:
    """The training clock of the run stands still, if this Trainer has one."""
    for callback in cast(Any, trainer).callbacks:
        if (clock := getattr(callback, "clock", None)) is not None:
            return cast(AbstractContextManager[None], clock.stopped())
    return nullcontext()


@contextmanager
def _reported(what: str) -> Iterator[None]:
    """W&B is a mirror: what it cannot draw costs a line, and no run."""
    try:
        yield
    except Exception as error:
        say_once(f"wandb: without {what}: {type(error).__name__}: {error}")
