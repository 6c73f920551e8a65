"""The one callback of a run: it knows at which optimizer step which part has to act, and does nothing at the others.

One callback and not one a part, because Lightning calls every hook of every callback in every step, also those that
are empty: on a small network that costs as much as the arithmetic.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import lightning.pytorch as pl
import torch

from normbench.probes import Probe
from normbench.spec.counts import evenly_spread
from normbench.store.folder import Progress, RunFolder
from normbench.train.callbacks.checkpoint import Best, save
from normbench.train.callbacks.clock import Clock
from normbench.train.callbacks.curves import Curves
from normbench.train.callbacks.divergence import Losses, first_bad_step
from normbench.train.callbacks.probe import Probes
from normbench.train.callbacks.progress import Position, Schedule
from normbench.train.randomness import State, gathered_states, restore_generators

NEVER = 2**31  # batches


@dataclass(frozen=True)
class Plan:
    """When things happen in a run.

    Args:
        steps: Optimizer steps of the whole budget.
        batch_size: Global batch size.
        epoch_samples: Images trained on in an epoch.
        loss_points: Points of the training-loss curve; at most one a step.
        validations: Evaluations on the validation images; 0 for none, at most one a step.
        checkpoints: Checkpoints over the budget.
        parts: Accumulated parts of a global batch.
        keep: Trained weights that stay: none, last or best.
        block: Optimizer steps executed as one, at most. With 1 every step is a batch of Lightning's.
        validation_images: Validation images that do while training goes on; None for all.
        probes: Probes by name.
    """

    steps: int
    batch_size: int
    epoch_samples: int
    loss_points: int = 50
    validations: int = 5
    checkpoints: int = 10
    parts: int = 1
    keep: str = "none"
    block: int = 1
    validation_images: int | None = None
    probes: Mapping[str, Probe] = field(default_factory=dict)


class Recorder(pl.Callback):
    """Writes a run's curves and checkpoints, times it, validates it at the planned steps and notices divergence.

    Args:
        folder: The run folder.
        run_id: The run, so that its checkpoint is known for its own.
        plan: When things happen.
        progress: Called with the number of optimizer steps done, after each block of them.
    """

    def __init__(self, folder: RunFolder, run_id: str, plan: Plan, progress: Progress | None = None) -> None:
        self.folder, self.run_id, self.plan, self.progress = folder, run_id, plan, progress
        self.position = Position(plan.steps, plan.batch_size, plan.epoch_samples)
        self.clock = Clock(plan.steps)
        self.curves = Curves(folder.path, self.position, self.clock)
        self.losses = Losses(plan.parts)
        self.probes = Probes(plan.probes, folder.path, self.position, self.curves, plan.batch_size)
        self.best = Best(folder.weights_path) if plan.keep == "best" else None
        # A point stands at the end of its interval: one over a single last batch would be mostly noise.
        self.loss_points = Schedule(evenly_spread(plan.steps, plan.loss_points))
        self.validations = Schedule(evenly_spread(plan.steps, plan.validations) if plan.validations else [])
        self.checkpoints = Schedule(evenly_spread(plan.steps, plan.checkpoints) if plan.checkpoints else [])
        self.train_loss: float | None = None
        self.diverged_at_step: int | None = None
        self.validation: dict[str, float] = {}
        self.validated_at = 0  # the step whose network was last validated on all images
        self._part: int | None = None
        self._checkpoint_due = False
        self._next = 0
        self._generators: list[State] | None = None
        self._world_size = 1

    # What a resumed run needs to go on as if nothing had happened.

    def state_dict(self) -> dict[str, Any]:
        """Everything, as plain values. Every process has to call it."""
        return {
            "run": self.run_id,
            "blocks": self.plan.block > 1,
            "step": self.position.step,
            "clock": self.clock.state(),
            "losses": self.losses.state(self.clock.device, self._world_size),
            "train_loss": self.train_loss,
            "diverged_at_step": self.diverged_at_step,
            "validation": self.validation,
            "validated_at": self.validated_at,
            "best": self.best.score if self.best else None,
            "generators": gathered_states(self._world_size),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes up what `state_dict` gave."""
        self.position.step = state_dict["step"]
        self.clock.restore(state_dict["clock"])
        self.losses.restore(state_dict["losses"])
        self.train_loss = state_dict["train_loss"]
        self.diverged_at_step = state_dict["diverged_at_step"]
        self.validation = state_dict["validation"]
        self.validated_at = state_dict["validated_at"]
        if self.best:
            self.best.score = state_dict["best"]
        self._generators = state_dict["generators"]

    # Lightning's hooks.

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.clock.device, self._world_size = pl_module.device, trainer.world_size
        if trainer.is_global_zero:
            self.curves.open()
            self.probes.open()
        trainer.val_check_batch = NEVER
        self._next = self._next_event(self.position.step)
        if self._generators:
            restore_generators(self._generators[trainer.global_rank])
        if self.diverged_at_step is not None:
            trainer.should_stop = True
        if self.position.step == 0 and 0 in self.probes.schedule:
            self.probes.measure(trainer, pl_module.net)
        self.probes.copy(trainer, pl_module.net)
        self.clock.start()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.losses.add(outputs)
        step = trainer.global_step
        if step == self.position.step:
            return  # a part of an accumulated batch
        self.position.step = step
        if self.progress is not None and trainer.is_global_zero:
            self.progress(step)
        if step >= self._next:
            self._act(trainer, pl_module, batch, step)
            self._next = self._next_event(step)

    def steps_ahead(self) -> int:
        """How many optimizer steps come next as one: up to the next at which something happens."""
        return max(1, min(self.plan.block, self._next - self.position.step))

    def validate_on(self, trainer: pl.Trainer) -> int | None:
        """How many validation images do now; None for all, as at the end, which a callback may bring early."""
        goes_on = trainer.state.fn == "fit" and self.position.step < self.plan.steps and not trainer.should_stop
        self._part = self.plan.validation_images if goes_on else None
        return self._part

    def _next_event(self, step: int) -> int:
        """The next step after `step` at which something happens."""
        if self._checkpoint_due:
            return step + 1
        probes = self.probes
        schedules = (self.loss_points, self.validations, self.checkpoints, probes.schedule, probes.copies)
        steps = [self.clock.warmup, *(schedule.after(step) for schedule in schedules)]
        return min((one for one in steps if one is not None and one > step), default=self.plan.steps)

    def _act(self, trainer: pl.Trainer, pl_module: Any, batch: Any, step: int) -> None:
        if step == self.clock.warmup:
            self.clock.end_warmup()
        if step in self.loss_points:
            self._record_loss(trainer)
        if step in self.probes.schedule or step in self.probes.copies:
            with self.clock.stopped():
                self.probes.measure(trainer, pl_module.net, batch)
                self.probes.copy(trainer, pl_module.net)
        self._checkpoint_due |= step in self.checkpoints
        if step in self.validations:
            trainer.val_check_batch = trainer.fit_loop.epoch_loop.total_batch_idx + 1  # after this batch
        # Not just before a validation: a run resumed there would leave it out. With blocks Lightning does not see that
        # an epoch is over until it asks for the next one, so not just there either.
        between = self.plan.block == 1 or self.position.samples % self.plan.epoch_samples != 0
        running = step < self.plan.steps and self.diverged_at_step is None
        apart = step not in self.validations and running and between
        if self._checkpoint_due and apart:
            self._checkpoint_due = False
            with self.clock.stopped():
                save(trainer, self.folder.checkpoint_path)

    def _record_loss(self, trainer: pl.Trainer) -> None:
        losses = self.losses.shared(self.clock.device, trainer.world_size)
        self.losses.clear()
        if self.diverged_at_step is None:
            self.diverged_at_step = first_bad_step(losses, self.position.step, self.plan.parts)
        if self.diverged_at_step is not None:
            trainer.should_stop = True
        self.train_loss = losses.mean().item()
        if trainer.is_global_zero:
            self.curves.add("train", {"loss": self.train_loss})

    # Validation: Lightning's loop validates where its count of batches is a multiple of `val_check_batch`, which is
    # put to that count just before. `val_check_interval` repeats one interval, which hits the end only where it
    # divides the budget.

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.clock.stop()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking:
            return
        self.validation = stage_metrics(trainer, "val_")
        if self._part is None:
            self.validated_at = self.position.step
        self._write_stage(trainer, "validation", self.validation, "val_")
        if self.best:
            self.best.offer(trainer, self.validation["val_accuracy"], self.validation["val_nll"])
        if trainer.state.fn == "fit":
            trainer.val_check_batch = NEVER
            self.clock.start()

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._write_stage(trainer, "test", stage_metrics(trainer, "test_"), "test_")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.clock.stop()
        if self.plan.keep == "last" or (self.best and not self.plan.validations):
            save(trainer, self.folder.weights_path, weights_only=True)

    def _write_stage(self, trainer: pl.Trainer, split: str, metrics: Mapping[str, float], prefix: str) -> None:
        if trainer.is_global_zero:
            self.curves.add(split, {name.removeprefix(prefix): value for name, value in metrics.items()})

    # What a result says.

    def samples_per_second(self) -> float | None:
        """Throughput after the warm-up steps, in images a second."""
        seconds = self.clock.seconds
        samples = (self.position.step - self.clock.warmup) * self.position.batch_size
        return samples / seconds if samples > 0 and seconds > 0 else None


def stage_metrics(trainer: pl.Trainer, prefix: str) -> dict[str, float]:
    """The metrics of the last evaluation whose names start with `prefix`."""
    return {
        name: float(value) if isinstance(value, torch.Tensor) else value
        for name, value in trainer.callback_metrics.items()
        if name.startswith(prefix)
    }
