"""The learning rate: at a batch size, at an optimizer step, and where it would be no number."""

from __future__ import annotations

import math

from normbench.errors import UsageError
from normbench.spec.counts import steps
from normbench.spec.schema import OptimizerConfig, RunConfig


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


def check_rate(config: RunConfig) -> None:
    """Raises UsageError for a warm-up that outlasts the budget, and for a rate that grows beyond all numbers."""
    optimizer, total = config.optimizer, steps(config)
    if optimizer.warmup_steps > total:
        raise UsageError(
            f"optimizer.warmup_steps={optimizer.warmup_steps} is more than the {total} steps of the budget"
        )
    try:
        first = learning_rate(optimizer, config.data.batch_size)
        last = first * lr_factor(optimizer, total, total)
    except ArithmeticError:
        last = math.inf
    if not math.isfinite(last):
        scaled = optimizer.lr_scaling != "none"
        keys = ["lr", *(["lr_scaling"] * scaled), *(["step_every", "step_factor"] * (optimizer.schedule == "step"))]
        said = ", ".join(f"optimizer.{key}={getattr(optimizer, key)}" for key in keys)
        raise UsageError(f"{said}: the learning rate grows beyond all numbers: choose smaller ones")
