"""The Lightning callback that mirrors a run folder to W&B while it is written, from a thread of its own.

Training never waits for W&B: it hands over what was added to metrics.csv and goes on. Only the end of a run waits,
and not for ever.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import lightning.pytorch as pl

from normbench.errors import UsageError
from normbench.spec.schema import RunConfig
from normbench.store.folder import METRICS
from normbench.tracking.mode import Decision, Mode, asked, decide, wandb_module
from normbench.tracking.points import Follower, Point
from normbench.tracking.session import INIT_SECONDS, Session, say_once

# Opening a W&B run takes 0.06 s of computing. Runs of less than this open theirs during the first validation, while
# the training clock stands still.
OPEN_AFTER_SECONDS = 2.0
LOOK_SECONDS = 1.0  # between two looks at metrics.csv while training


class Writer(threading.Thread):
    """Owns the W&B run: opens it, logs what it is given, closes it."""

    def __init__(self, config: RunConfig, folder: Path) -> None:
        super().__init__(name="wandb", daemon=True)  # a process that ends does not wait for W&B
        self.config, self.folder = config, folder
        self.may_open = threading.Event()
        self.jobs: queue.SimpleQueue[tuple[list[Point], Mapping[str, Any]] | None] = queue.SimpleQueue()
        self.result: Mapping[str, Any] | None = None

    def run(self) -> None:
        """The thread."""
        try:
            self.may_open.wait(OPEN_AFTER_SECONDS)
            session = Session(self.config, self.folder, self._mode())
            try:
                while (job := self.jobs.get()) is not None:
                    session.log(*job)
            finally:
                session.close(self.result)
        except Exception as error:  # whatever W&B does, the training goes on, and its own files are whole
            say_once(f"wandb: gave up: {type(error).__name__}: {error}; `normbench wandb push` sends what is missing")

    def _mode(self) -> Mode:
        try:
            decision = decide(self.config.logger)
        except UsageError as error:  # a study asks before it starts; a run that has started goes on
            decision = Decision("offline", str(error))
        if decision.reason:
            say_once(str(decision))
        return decision.mode

    def close(self, result: Mapping[str, Any] | None) -> None:
        """Waits for the last rows to be taken, for as long as the configuration allows."""
        self.result = result
        self.may_open.set()
        self.jobs.put(None)
        self.join(2 * INIT_SECONDS + self.config.logger.finish_seconds)
        if self.is_alive():
            say_once("wandb: does not end: left behind; `normbench wandb push` sends what is missing")


class WandbMirror(pl.Callback):
    """Mirrors a run to W&B, on the process of rank 0 alone. Goes after the Recorder in the list of callbacks.

    Args:
        config: The resolved run.
        folder: Its folder.
        steps: Optimizer steps of the whole budget.
    """

    def __init__(self, config: RunConfig, folder: Path, steps: int) -> None:
        self.config, self.folder, self.steps = config, folder, steps
        self.histograms = min(config.logger.histograms, steps)
        self.media: dict[str, Any] = {}
        self.follower = Follower(folder / METRICS)
        self.writer: Writer | None = None
        self.looked = 0.0
        self.layers: Any = None
        self.predictions: Any = None

    def _wanted(self, trainer: pl.Trainer) -> bool:
        return trainer.is_global_zero and asked(self.config.logger) != "off"

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.histograms and self._wanted(trainer):
            from normbench.tracking.media import LayerHistograms

            self.layers = LayerHistograms()
            wandb_module()  # imported here, before the training clock starts to count

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not self._wanted(trainer) or self.writer is not None:
            return
        self.looked = time.monotonic()
        self.writer = Writer(self.config, self.folder)
        self.writer.start()
        self._look()  # a resumed run has points already

    def _look(self) -> None:
        """Hands over what is new in metrics.csv; media go with the last of it."""
        if self.writer is not None and (fresh := self.follower.read()):
            self.writer.jobs.put((fresh, self.media))
            self.media = {}
        self.looked = time.monotonic()

    def _due(self, step: int) -> bool:
        """Even intervals that end with the last step, as those of the training-loss curve."""
        return step * self.histograms // self.steps > (step - 1) * self.histograms // self.steps

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self.layers and self._due(trainer.global_step + 1):
            self.layers.arm(pl_module.net)

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Any) -> None:
        if self.layers:
            self.layers.gradients(pl_module.net)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.writer is None:
            return
        if self.layers and self.layers.taken:
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
        if (logger.confusion_matrix or logger.misclassified) and asked(logger) != "off":
            from normbench.tracking.media import TestPredictions

            self.predictions = TestPredictions(cast(Any, pl_module).net)

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        logger = self.config.logger
        answers = self.predictions.gather() if self.predictions else None
        if self.writer is None:
            return
        net, data = cast(Any, pl_module).net, cast(Any, trainer).datamodule
        if logger.filters:
            from normbench.tracking.media import filters

            self.media |= filters(net)
        if answers:
            from normbench.tracking.media import test_media

            (predicted, sure), split = answers, data.test_dataloader().split
            if len(predicted) == len(split):  # not so in a fast_dev_run
                self.media |= test_media(split, predicted, sure, logger.confusion_matrix, logger.misclassified)
        self._look()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self.finish(None)

    def finish(self, result: Mapping[str, Any] | None) -> None:
        """Closes the W&B run: with its result, or as failed."""
        if self.writer is not None:
            self._look()
            self.writer.close(result)
            self.writer = None
