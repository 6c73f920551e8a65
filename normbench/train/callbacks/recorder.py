"""The Lightning callback that writes a run's curves, times it, notices divergence and keeps a checkpoint."""

from __future__ import annotations

import csv
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
import torch.distributed as dist
from torch import Tensor

from normbench.errors import RunFolderError
from normbench.store.folder import CHECKPOINT, CURVE_COLUMNS, METRICS, Progress, unwritable

WARMUP_STEPS = 10


class Recorder(pl.Callback):
    """Writes metrics.csv and checkpoint.ckpt into a run folder.

    Args:
        folder: The run folder.
        steps: Optimizer steps of the whole budget.
        batch_size: Global batch size.
        loss_points: Points of the training-loss curve.
        checkpoints: Checkpoints over the budget.
        validate_every: Optimizer steps between two validations.
        epoch_samples: Images trained on in an epoch.
        progress: Called now and then with the number of steps done.
    """

    def __init__(
        self,
        folder: Path,
        steps: int,
        batch_size: int,
        loss_points: int,
        checkpoints: int,
        validate_every: int,
        epoch_samples: int,
        progress: Progress | None = None,
    ) -> None:
        self.folder, self.steps, self.batch_size = folder, steps, batch_size
        self.loss_points = min(loss_points, steps)
        self.checkpoint_every = max(1, steps // checkpoints) if checkpoints else 0
        self.validate_every, self.epoch_samples = validate_every, epoch_samples
        self.progress = progress
        self.warmup = min(WARMUP_STEPS, steps // 10)
        self.losses: list[Tensor] = []
        self.train_loss: float | None = None
        self.diverged_at_step: int | None = None
        self.seconds = 0.0
        self.warmup_seconds = 0.0
        self.last_step = 0
        self._checkpoint_due = False
        self._since: float | None = None
        self._device = torch.device("cpu")

    # What a resumed run needs to go on as if nothing had happened.

    def state_dict(self) -> dict[str, Any]:
        """Clock, losses since the last point, and where the run stands."""
        return {
            "losses": [loss.item() for loss in self.losses],
            "train_loss": self.train_loss,
            "seconds": self.elapsed(),
            "warmup_seconds": self.warmup_seconds,
            "last_step": self.last_step,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes up what `state_dict` gave, and forgets the rows that were written after it."""
        self.losses = [torch.tensor(loss, dtype=torch.float64) for loss in state_dict["losses"]]
        self.train_loss = state_dict["train_loss"]
        self.seconds = state_dict["seconds"]
        self.warmup_seconds = state_dict["warmup_seconds"]
        self.last_step = state_dict["last_step"]

    # The clock: training alone, without evaluation, checkpoints and set-up.

    def _start(self) -> None:
        self._synchronize()
        self._since = time.perf_counter()

    def _stop(self) -> None:
        self._synchronize()
        self.seconds, self._since = self.elapsed(), None

    def elapsed(self) -> float:
        """Seconds of training so far."""
        return self.seconds + (time.perf_counter() - self._since if self._since is not None else 0.0)

    def _synchronize(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def samples_per_second(self) -> float | None:
        """Throughput after the warm-up steps."""
        seconds = self.seconds - self.warmup_seconds
        samples = (self.last_step - self.warmup) * self.batch_size
        return samples / seconds if samples > 0 and seconds > 0 else None

    # Lightning's hooks.

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._device = pl_module.device
        if trainer.is_global_zero:
            self._open()
        self._start()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        # Lightning hands out the loss divided by the number of accumulated parts.
        self.losses.append(outputs["loss"].detach() * trainer.accumulate_grad_batches)
        step = trainer.global_step
        if step == self.last_step:
            return  # a part of an accumulated batch
        self.last_step = step
        if step == self.warmup:
            self._synchronize()
            self.warmup_seconds = self.elapsed()
        # Even intervals that end with the last step: a point over a single last batch would be mostly noise.
        if step * self.loss_points // self.steps > (step - 1) * self.loss_points // self.steps:
            self._record_loss(trainer)
        if self.progress and trainer.is_global_zero:
            self.progress(step)
        if self.checkpoint_every and step % self.checkpoint_every == 0:
            self._checkpoint_due = True
        # Not just before a validation: a run resumed there would leave it out.
        if self._checkpoint_due and step % self.validate_every and step < self.steps:
            self._checkpoint_due = False
            self._stop()
            self._save(trainer)
            self._start()

    def _record_loss(self, trainer: pl.Trainer) -> None:
        losses = self._shared_losses(trainer)  # so that all processes see a divergence, and stop, at the same step
        parts = trainer.accumulate_grad_batches
        bad = (~losses.isfinite()).nonzero()
        if len(bad):
            first = self.last_step - (len(losses) - 1 - int(bad[0])) // parts
            self.diverged_at_step = first
            trainer.should_stop = True
        self.train_loss = losses.mean().item()
        self.losses = []
        self._write(trainer, "train", {"loss": self.train_loss})

    def _shared_losses(self, trainer: pl.Trainer) -> Tensor:
        """The losses since the last point, averaged over all processes."""
        losses = torch.stack([loss.double() for loss in self.losses]).to(self._device)
        if trainer.world_size > 1:
            dist.all_reduce(losses)
            losses /= trainer.world_size
        return losses

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._stop()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        metrics = {k.removeprefix("val_"): v for k, v in trainer.callback_metrics.items() if k.startswith("val_")}
        self._write(trainer, "validation", metrics)
        if trainer.state.fn == "fit":
            self._start()

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        metrics = {k.removeprefix("test_"): v for k, v in trainer.callback_metrics.items() if k.startswith("test_")}
        self._write(trainer, "test", metrics)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._since is not None:
            self._stop()

    # Files.

    def _open(self) -> None:
        """Starts metrics.csv, or cuts a resumed run's back to the step of its checkpoint."""
        path = self.folder / METRICS
        rows: list[list[str]] = []
        if self.last_step and path.exists():
            with path.open(newline="", encoding="utf-8") as file:
                rows = [row for row in csv.reader(file) if len(row) == len(CURVE_COLUMNS) and row[0].isdigit()]
            rows = [row for row in rows if int(row[0]) <= self.last_step]
        self._append([list(CURVE_COLUMNS), *rows], mode="w")

    def _write(self, trainer: pl.Trainer, split: str, metrics: dict[str, Any]) -> None:
        if trainer.is_global_zero and not trainer.sanity_checking:
            samples = self.last_step * self.batch_size
            at = [
                self.last_step,
                samples,
                f"{samples / self.epoch_samples:.4f}",
                f"{self.elapsed():.3f}",
                split,
            ]
            self._append([[*at, name, f"{float(value):.7g}"] for name, value in metrics.items()], mode="a")

    def _append(self, rows: list[list[Any]], mode: str) -> None:
        path = self.folder / METRICS
        try:
            with path.open(mode, newline="", encoding="utf-8") as file:
                csv.writer(file).writerows(rows)
        except OSError as error:
            raise unwritable(path, error) from None

    def _save(self, trainer: pl.Trainer) -> None:
        """Replaces the checkpoint by one of now; a kill in between leaves the old one."""
        path, fresh = self.folder / CHECKPOINT, self.folder / (CHECKPOINT + ".new")
        if self.losses:  # a checkpoint is read by all processes, and holds what rank 0 knows
            self.losses = list(self._shared_losses(trainer))
        try:
            trainer.save_checkpoint(fresh)
            if trainer.is_global_zero:
                fresh.replace(path)
        except (OSError, RuntimeError) as error:  # torch wraps a full disk in a RuntimeError
            if isinstance(error, OSError):
                raise unwritable(path, error) from None
            raise RunFolderError(f"cannot write {path}: {error}; free some space or name another folder") from None
