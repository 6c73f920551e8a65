"""Lightning's Trainer for a run: everything that can change a number is set here, and nothing by the environment."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import lightning.pytorch as pl
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.strategies import DDPStrategy, Strategy

from normbench import environ
from normbench.errors import UsageError
from normbench.spec.counts import devices, validates
from normbench.spec.schema import RunConfig
from normbench.train.callbacks.recorder import NEVER


def build_trainer(config: RunConfig, callbacks: Sequence[pl.Callback], total: int) -> pl.Trainer:
    """The Trainer of a resolved run: no logger, no checkpoints of its own, no bars; those are normbench's.

    Args:
        config: The resolved run.
        callbacks: Lightning callbacks.
        total: Optimizer steps of the whole budget.

    Raises:
        UsageError: The machine gives other devices, or another precision, than the configuration asks for.
    """
    settings = config.trainer
    strategy: str | Strategy = "auto"
    if devices(config) > 1:
        # Statistics are shared before every evaluation (NormClassifier), not before every step.
        strategy = DDPStrategy(broadcast_buffers=False)
    few = settings.fast_dev_run or 1.0  # Lightning's own fast_dev_run also takes away callbacks
    with without_trainer_variables():
        trainer = pl.Trainer(
            accelerator=settings.accelerator,
            devices=settings.devices,
            num_nodes=settings.num_nodes,
            strategy=strategy,
            # Whatever scheduler the machine has: the processes are those that the configuration asks for.
            plugins=[LightningEnvironment()],
            precision=settings.precision,
            deterministic=settings.deterministic,
            benchmark=False,
            gradient_clip_val=settings.gradient_clip_val,
            gradient_clip_algorithm=settings.gradient_clip_algorithm,
            accumulate_grad_batches=settings.accumulate_grad_batches,
            # A batch of the configuration is one of an optimizer step; Lightning counts its parts.
            overfit_batches=settings.overfit_batches * settings.accumulate_grad_batches,
            max_steps=total,
            max_epochs=-1,
            limit_test_batches=few,
            val_check_interval=NEVER,
            check_val_every_n_epoch=None,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            callbacks=list(callbacks),
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_autolog_hparams=False,
        )
    # Overfitting is about training: Lightning would also validate on the first few batches only.
    trainer.limit_val_batches = few if validates(config) else 0
    # Lightning's handler of SIGTERM waits for the end of an epoch, or for other processes; ours raises at once.
    trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
    if trainer.world_size != devices(config):
        raise UsageError(
            f"trainer.devices x trainer.num_nodes asks for {devices(config)}, {trainer.world_size} came up"
        )
    if trainer.precision != settings.precision:
        raise UsageError(
            f"trainer.precision={settings.precision}: this device computes {trainer.precision} instead: ask for that"
        )
    return trainer


@contextmanager
def without_trainer_variables() -> Iterator[None]:
    """Hides PL_TRAINER_*: Lightning takes whatever the Trainer is not given from these variables."""
    with environ.changed(dict.fromkeys(name for name in os.environ if name.startswith("PL_TRAINER_"))):
        yield


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Keeps Lightning's greetings and its advice on data loaders out of a study's log."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\.|torchmetrics\.|torch\.optim\.lr_scheduler")
            # "smallest subnormal": NumPy's, which finds them gone (`process_settings`).
            warnings.filterwarnings("ignore", message=r".*(smallest subnormal|srun|treespec|isinstance\(treespec).*")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
