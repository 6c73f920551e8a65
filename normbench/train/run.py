"""One run: a configuration in, a result and a run folder out."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import os
import platform
import subprocess
import time
import warnings
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
import yaml
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.strategies import DDPStrategy, Strategy

from normbench.data.module import MNISTDataModule
from normbench.data.source import ensure
from normbench.errors import NormbenchError, UsageError
from normbench.spec.resolve import device_batch, devices, epoch_samples, images_per_statistic, resolve, steps
from normbench.spec.schema import RunConfig, replace, run_id, to_dict
from normbench.store.folder import CHECKPOINT, CONFIG, ERROR, LAYOUT, RESULT, Progress, make_folder, write_atomically
from normbench.tracking.mirror import WandbMirror
from normbench.train.callbacks.recorder import Recorder
from normbench.train.module import NormClassifier, learning_rate


def train(config: RunConfig, folder: Path, progress: Progress | None = None) -> dict[str, Any]:
    """Trains, validates and tests one run, writing `folder`, and returns its result.

    A folder with a checkpoint is continued from there. result.json comes last: it is what makes a run done.

    Args:
        config: The run.
        folder: Its folder.
        progress: Called with the number of optimizer steps done.
    """
    config = resolve(config)
    config = resolve(replace(config, {"data.name": ensure(config.data)}))
    make_folder(folder)
    total = steps(config)
    started = time.perf_counter()
    with _quiet_lightning():
        torch.set_num_threads(config.trainer.threads)
        data = MNISTDataModule(**dataclasses.asdict(config.data), seed=config.seed)
        module = NormClassifier(
            config.model,
            config.optimizer,
            config.seed,
            channels_last=config.trainer.channels_last,
            virtual_devices=config.trainer.virtual_devices,
        )
        if config.trainer.precision == "64-true":
            # Lightning restores a checkpoint before it converts the module, which would round it to float32.
            module.double()
        validate_every = math.ceil(total / config.trainer.validations)
        recorder = Recorder(
            folder,
            total,
            config.data.batch_size,
            config.trainer.loss_points,
            config.trainer.checkpoints,
            validate_every,
            epoch_samples(config),
            progress,
        )
        mirror = WandbMirror(config, folder, total)
        trainer = build_trainer(config, [recorder, mirror], total, validate_every)
        if trainer.world_size != devices(config):
            raise UsageError(
                f"trainer.devices x trainer.num_nodes asks for {devices(config)}, {trainer.world_size} came up"
            )
        if trainer.is_global_zero:
            write_atomically(folder / CONFIG, yaml.safe_dump(to_dict(config), sort_keys=False))
            (folder / ERROR).unlink(missing_ok=True)
        checkpoint = folder / CHECKPOINT
        try:
            trainer.fit(
                module,
                datamodule=data,
                ckpt_path=checkpoint if checkpoint.exists() else None,
                weights_only=False,
            )
            if recorder.last_step % validate_every or config.trainer.fast_dev_run:
                trainer.validate(module, datamodule=data, verbose=False)
            validation = _metrics(trainer, "val_")
            trainer.test(module, datamodule=data, verbose=False)
        except ValueError as error:
            if "Expected more than 1 value per channel" not in str(error):
                raise
            raise UsageError(
                f"norm '{config.model.norm}' has one value for each statistic ({error}): choose a larger batch"
            ) from None
        metrics = {**validation, **_metrics(trainer, "test_")}
    result = {
        "layout": LAYOUT,
        "run_id": run_id(config),
        "config": to_dict(config),
        "dataset": data.facts(),
        "metrics": {key: _finite(value) for key, value in metrics.items()}
        | {"train_loss": _finite(recorder.train_loss)},
        "diverged_at_step": recorder.diverged_at_step,
        "steps": recorder.last_step,
        "samples": recorder.last_step * config.data.batch_size,
        "epochs": recorder.last_step * config.data.batch_size / epoch_samples(config),
        "lr": learning_rate(config.optimizer, config.data.batch_size),
        "parameters": sum(p.numel() for p in module.net.parameters()),
        "devices": devices(config),
        "virtual_devices": config.trainer.virtual_devices,
        "device_batch": device_batch(config),
        "images_per_statistic": images_per_statistic(config),
        # Training alone: no evaluation, no checkpoints, not the first steps.
        "seconds": recorder.seconds - recorder.warmup_seconds,
        "samples_per_second": recorder.samples_per_second(),
        "wall_seconds": time.perf_counter() - started,
        "environment": environment(trainer.strategy.root_device),
    }
    if recorder.diverged_at_step is not None:
        # A network of NaN still answers "zero" to every image; that is no accuracy.
        result["metrics"] = dict.fromkeys(metrics, None) | {"train_loss": None}
    if trainer.is_global_zero:
        write_atomically(folder / RESULT, json_text(result))
        checkpoint.unlink(missing_ok=True)
    mirror.finish(result)
    return result


def build_trainer(config: RunConfig, callbacks: list[pl.Callback], total: int, validate_every: int) -> pl.Trainer:
    """Lightning's Trainer for a run: no logger, no checkpoints of its own, no bars; those are normbench's."""
    settings = config.trainer
    strategy: str | Strategy = "auto"
    if devices(config) > 1:
        # Statistics are shared before every evaluation (NormClassifier), not before every step.
        strategy = DDPStrategy(broadcast_buffers=False)
    return pl.Trainer(
        accelerator=settings.accelerator,
        devices=settings.devices,
        num_nodes=settings.num_nodes,
        strategy=strategy,
        # Whatever scheduler the machine has: the processes are those that the configuration asks for.
        plugins=[LightningEnvironment()],
        precision=settings.precision,  # type: ignore[arg-type]  # Lightning checks the text itself
        deterministic=settings.deterministic,
        gradient_clip_val=settings.gradient_clip_val,
        gradient_clip_algorithm=settings.gradient_clip_algorithm,
        accumulate_grad_batches=settings.accumulate_grad_batches,
        fast_dev_run=settings.fast_dev_run,
        overfit_batches=settings.overfit_batches,
        max_steps=total,
        max_epochs=-1,
        val_check_interval=validate_every * settings.accumulate_grad_batches,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def _metrics(trainer: pl.Trainer, prefix: str) -> dict[str, float]:
    # Seven digits: what float32 holds, without the noise behind it (0.9007, not 0.9006999731).
    return {
        name: float(f"{float(value):.7g}")
        for name, value in trainer.callback_metrics.items()
        if name.startswith(prefix)
    }


def _finite(value: float | None) -> float | None:
    """JSON has no NaN."""
    return value if value is not None and math.isfinite(value) else None


def json_text(value: object) -> str:
    """`value` as indented JSON."""
    return json.dumps(value, indent=2, allow_nan=False) + "\n"


class _quiet_lightning:  # noqa: N801  (read as a statement: with _quiet_lightning())
    """Keeps Lightning's greetings and its advice on data loaders out of a study's log."""

    def __enter__(self) -> None:
        self.loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
        self.levels = [logger.level for logger in self.loggers]
        for logger in self.loggers:
            logger.setLevel(logging.ERROR)
        self.warnings = warnings.catch_warnings()
        self.warnings.__enter__()
        warnings.filterwarnings("ignore", module=r"lightning\.|torchmetrics\.|torch\.optim\.lr_scheduler")
        warnings.filterwarnings("ignore", message=r".*(srun|treespec|isinstance\(treespec).*")

    def __exit__(self, *error: object) -> None:
        self.warnings.__exit__(None, None, None)
        for logger, level in zip(self.loggers, self.levels, strict=True):
            logger.setLevel(level)


@cache
def environment(device: torch.device) -> dict[str, Any]:
    """Versions, code and machine that a result depends on; nothing that identifies a person."""
    packages = ("normbench", "torch", "torchvision", "lightning", "torchmetrics", "numpy")
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
        "git_commit": git_commit(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "platform": platform.platform(),
    }


@cache
def git_commit() -> str | None:
    """The commit of the source tree of normbench, with `+` if files differ from it; None outside a checkout."""
    root = Path(__file__).resolve().parent
    try:
        describe = ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*"]
        return subprocess.run(describe, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


@cache
def processor() -> str:
    """The CPU's name, as the system says it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def failure(error: BaseException) -> str:
    """What error.txt says: the whole traceback, and last the line that a user reads first."""
    import traceback

    text = "".join(traceback.format_exception(error))
    return text if not isinstance(error, NormbenchError) else f"{text}\n{error}\n"
