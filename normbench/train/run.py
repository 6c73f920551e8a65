"""One run: a configuration in, a result and a run folder out. Reads from top to bottom."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from normbench import environ
from normbench.data import with_data_at_hand
from normbench.data.module import MNISTDataModule
from normbench.errors import UsageError
from normbench.seeds import generator
from normbench.spec import run_id, to_dict
from normbench.spec.counts import (
    device_batch,
    devices,
    epoch_samples,
    images_per_statistic,
    steps,
    steps_per_execution,
    validates,
    values_per_statistic,
)
from normbench.spec.registry import CALLBACKS, PROBES
from normbench.spec.schedule import learning_rate
from normbench.spec.schema import RunConfig
from normbench.store.files import make_folder
from normbench.store.folder import Progress, place_of
from normbench.store.predictions import write_predictions
from normbench.train.callbacks.checkpoint import usable_checkpoint
from normbench.train.callbacks.divergence import ruined
from normbench.train.callbacks.recorder import Plan, Recorder, stage_metrics
from normbench.train.corrupted import corrupted_metrics
from normbench.train.environment import code_digest, environment
from normbench.train.memory import keep_freed_memory
from normbench.train.module import NormClassifier
from normbench.train.precise import precise_metrics
from normbench.train.randomness import check_repeats, preserved_generators, seed_generators
from normbench.train.settings import process_settings, settings_in_force
from normbench.train.stopping import signals_as_exceptions
from normbench.train.trainer import build_trainer, quiet_lightning


def train(
    config: RunConfig, folder: Path, progress: Progress | None = None, callbacks: Sequence[pl.Callback] = ()
) -> dict[str, Any]:
    """Trains, validates and tests one run, writing `folder`, and returns its result.

    A folder with a checkpoint is continued from there, unless one was to execute several steps as one and the other
    each alone (see `callbacks`): then the run begins again, and says so. result.json comes last: it is what makes a
    run done. Global random generators and torch's settings are afterwards as they were before.

    Args:
        config: The run.
        folder: Its folder, whose name is the run's id.
        progress: Called with the number of optimizer steps done, after each block of steps that is executed as one (see
            `trainer.steps_per_execution`).
        callbacks: Lightning callbacks that watch the run; what they do to it is no part of its identity. They see each
            optimizer step, unless all of them have an attribute `sees_blocks` that is true.

    Raises:
        UsageError: What the configuration asks for cannot be had.
        RunFolderError: The folder cannot be written to.
        KeyboardInterrupt: Ctrl-C; the same call continues.
        Terminated: SIGTERM; the same call continues.
    """
    started = time.perf_counter()
    config = with_data_at_hand(config)
    own = run_id(config)
    place = place_of(folder, own)
    if place.id != own:
        raise UsageError(f"folder {folder} is not that of run {own}: name it so, or let normbench choose it")
    make_folder(folder)
    total = planned_steps(config)

    with surroundings(config):
        data = MNISTDataModule.from_config(config.data, config.seed)
        module = NormClassifier(
            config.model,
            config.optimizer,
            config.seed,
            channels_last=config.trainer.channels_last,
            virtual_devices=config.trainer.virtual_devices,
            image=data.image_shape,
            classes=data.num_classes,
        )
        if config.plugins:
            images = device_batch(config) * config.trainer.virtual_devices
            check_repeats(
                module.net, torch.rand(images, *data.image_shape, generator=generator(config.seed, "repeats"))
            )
        if config.trainer.precision == "64-true":
            # Lightning restores a checkpoint before it converts the module, which would round it to float32.
            module.double()
        recorder = Recorder(place, own, plan(config, total, callbacks), progress)
        if recorder.plan.block > 1:
            data.block = recorder.steps_ahead
            module.execute_in_blocks(config.data.batch_size)
        chosen = [CALLBACKS.get(name).build() for name in config.trainer.callbacks]
        trainer = build_trainer(config, [recorder, *callbacks, *chosen], total)
        data.validate_on = partial(recorder.validate_on, trainer)
        seed_generators(config.seed, "run", trainer.global_rank)
        checkpoint = usable_checkpoint(place, own, recorder.plan.block > 1, trainer.is_global_zero)
        if trainer.is_global_zero:
            place.write_config(to_dict(config))
            place.write_error("")
            if checkpoint is None:
                place.weights_path.unlink(missing_ok=True)

        with degenerate_statistics_named(config):
            trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=False)
            if validates(config) and recorder.validated_at != recorder.position.step:
                trainer.validate(module, datamodule=data, verbose=False)
            trainer.test(module, datamodule=data, verbose=False)
        answers = module.answers.gathered(trainer.world_size)
        metrics = {**recorder.validation, **stage_metrics(trainer, "test_")}
        diverged = recorder.diverged_at_step
        if diverged is None and ruined(module.net, metrics):
            diverged = recorder.position.step
        metrics |= precise_metrics(config, module, data, metrics, whole=diverged is None)
        metrics |= corrupted_metrics(config, module, data, whole=diverged is None)
        result = {
            "run_id": own,
            "config": to_dict(config),
            "dataset": data.facts(),
            "metrics": result_metrics(metrics, recorder.train_loss, diverged is not None),
            "diverged_at_step": diverged,
            "steps": recorder.position.step,
            "samples": recorder.position.samples,
            "epochs": recorder.position.epochs,
            "lr": learning_rate(config.optimizer, config.data.batch_size),
            "parameters": sum(p.numel() for p in module.net.parameters()),
            "devices": devices(config),
            "virtual_devices": config.trainer.virtual_devices,
            "device_batch": device_batch(config),
            "images_per_statistic": images_per_statistic(config),
            "values_per_statistic": values_per_statistic(config),
            "code_digest": code_digest(),
            # Training alone: no evaluation, no checkpoints, not the first steps; the clock of metrics.csv.
            "seconds": recorder.clock.seconds,
            "samples_per_second": recorder.samples_per_second(),
            "wall_seconds": time.perf_counter() - started,
            "probes": recorder.probes.result(config.probes),
            "environment": {
                **environment(trainer.strategy.root_device),
                **settings_in_force(),
                "precision": str(trainer.precision),
                "accelerator": trainer.strategy.root_device.type,
                "processes": trainer.world_size,
            },
        }
        if trainer.is_global_zero:
            if diverged is None and answers.shape[1] == len(data.split("test")):  # not where fast_dev_run saw a few
                write_predictions(folder, *answers)
            result = place.write_result(result)
            place.checkpoint_path.unlink(missing_ok=True)
    return result


def planned_steps(config: RunConfig) -> int:
    """Optimizer steps of a resolved run."""
    few = config.trainer.fast_dev_run
    return min(few, steps(config)) if few else steps(config)


def plan(config: RunConfig, total: int, callbacks: Sequence[pl.Callback] = ()) -> Plan:
    """When things happen in a resolved run of `total` steps that `callbacks` watch."""
    settings = config.trainer
    validations = 1 if settings.fast_dev_run else settings.validations
    # Any hook of a foreign callback may be about a step: its gradients, its loss.
    blocks = all(getattr(callback, "sees_blocks", False) for callback in callbacks)
    return Plan(
        steps=total,
        batch_size=config.data.batch_size,
        epoch_samples=epoch_samples(config),
        loss_points=settings.loss_points,
        validations=validations if validates(config) else 0,
        checkpoints=settings.checkpoints,
        parts=settings.accumulate_grad_batches,
        keep=settings.keep,
        block=steps_per_execution(config) if blocks else 1,
        validation_images=settings.validation_images,
        probes={name: PROBES.get(name).build(**options) for name, options in config.probes.items()},
    )


@contextmanager
def surroundings(config: RunConfig) -> Iterator[None]:
    """What holds while a run runs and is put back after it: logs, signals, torch's settings, random generators."""
    keep_freed_memory()
    with ExitStack() as stack:
        stack.enter_context(quiet_lightning())
        stack.enter_context(signals_as_exceptions())
        # Set by Lightning for every process that imports it: an optimizer that asks in each step whether there is CUDA
        # (Adam) then opens NVIDIA's library each time, which costs 30 microseconds.
        stack.enter_context(environ.changed({"PYTORCH_NVML_BASED_CUDA_CHECK": None}))
        stack.enter_context(process_settings(config.trainer.threads, config.trainer.deterministic))
        stack.enter_context(preserved_generators())
        yield


@contextmanager
def degenerate_statistics_named(config: RunConfig) -> Iterator[None]:
    """Gives torch's error about a statistic over one value the name of the norm, where no plan could foresee it."""
    try:
        yield
    except ValueError as error:
        if "Expected more than 1 value per channel" not in str(error):
            raise
        raise UsageError(
            f"norm '{config.model.norm}' has one value for each statistic ({error}): choose a larger batch"
        ) from None


def result_metrics(metrics: Mapping[str, float], train_loss: float | None, diverged: bool) -> dict[str, float | None]:
    """The metrics as a result has them; None for what is not finite (JSON has no NaN), and for all of a diverged run.

    A network of NaN still answers "zero" to every image; that is no accuracy.
    """
    # Seven digits: what float32 holds, without the noise behind it (0.9007, not 0.9006999731).
    found: dict[str, float | None] = {name: float(f"{value:.7g}") for name, value in metrics.items()}
    found["train_loss"] = train_loss
    return {
        name: value if not diverged and value is not None and math.isfinite(value) else None
        for name, value in found.items()
    }
