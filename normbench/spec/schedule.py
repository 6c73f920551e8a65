"""The learning rate: at a batch size, and at an optimizer step."""

from __future__ import annotations

import math

from normbench.errors import UsageError
from normbench.spec.schema import OptimizerConfig


def learning_rate(config: OptimizerConfig, batch_size: int | None) -> float:
    """The learning rate for a global batch: lr (batch_size / reference_batch) to the power 0, 1/2 or 1."""
    power = {"none": 0.0, "sqrt": 0.5, "linear": 1.0}[config.lr_scaling]
    if power == 0:
        return config.lr
    if batch_size is None:
        raise UsageError(
            f"optimizer.lr_scaling={config.lr_scaling} needs the batch size: use MNISTDataModule, or lr_scaling=none"
        )
    return config.lr * (batch_size / config.reference_batch) ** power


def lr_factor(config: OptimizerConfig, step: int, total: int) -> float:
    """By how much the schedule multiplies the learning rate at optimizer step `step` of `total`."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    done = (step - config.warmup_steps) / max(1, total - config.warmup_steps)
    if config.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
    if config.schedule == "step":
        return config.step_factor ** int(done / config.step_every + 1e-9)
    return 1.0
