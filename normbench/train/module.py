"""NormClassifier: the LightningModule that trains a model whose norm is a name."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import lightning.pytorch as pl
import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassCalibrationError

from normbench.errors import UsageError
from normbench.models import build_model, resolve_model
from normbench.models.dropout import Rows, SeededDropout
from normbench.models.registry import CLASSES
from normbench.seeds import init_weights
from normbench.spec.schema import ModelConfig, OptimizerConfig

CALIBRATION_BINS = 15


class NormClassifier(pl.LightningModule):
    """Softmax classifier of (N, 1, 28, 28) images, trained with cross-entropy.

    Logs train_loss, and for validation and test: accuracy (a fraction), nll (nats an image) and calibration_error
    (expected calibration error, 15 bins, a fraction), each over every image exactly once.

    Args:
        model: Architecture and norm.
        optimizer: Optimizer, schedule and learning-rate rule.
        seed: Decides initial weights and dropout.
        channels_last: Memory layout of the convolutions.
        virtual_devices: See `TrainerConfig`.
    """

    def __init__(
        self,
        model: ModelConfig | None = None,
        optimizer: OptimizerConfig | None = None,
        seed: int = 0,
        channels_last: bool = True,
        virtual_devices: int = 1,
    ) -> None:
        super().__init__()
        self.model_config = resolve_model(model or ModelConfig())
        self.optimizer_config = optimizer or OptimizerConfig()
        self.seed = seed
        self.save_hyperparameters(
            {
                "model": dataclasses.asdict(self.model_config),
                "optimizer": dataclasses.asdict(self.optimizer_config),
                "seed": seed,
                "channels_last": channels_last,
                "virtual_devices": virtual_devices,
            }
        )
        self.net = build_model(self.model_config, virtual_devices=virtual_devices)
        init_weights(self.net, seed)
        self._dropouts = []
        for name, module in self.net.named_modules():
            if isinstance(module, SeededDropout):
                module.name = name
                self._dropouts.append(module)
        if channels_last:
            self.net.to(memory_format=torch.channels_last)
        metrics = MetricCollection(
            {
                "accuracy": MulticlassAccuracy(CLASSES, average="micro"),
                "calibration_error": MulticlassCalibrationError(CLASSES, n_bins=CALIBRATION_BINS),
            },
            compute_groups=False,
        )
        self.metrics = torch.nn.ModuleDict({stage: metrics.clone(prefix=f"{stage}_") for stage in ("val", "test")})
        self.nll = torch.nn.ModuleDict({stage: MeanMetric(nan_strategy="disable") for stage in ("val", "test")})

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, 10) of images (N, 1, 28, 28)."""
        logits: Tensor = self.net(images)
        return logits

    def on_train_batch_start(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Tells the dropout layers where the images of this batch stand in the global batch."""
        if not self._dropouts:
            return
        trainer = self.trainer
        local, world, parts = len(batch[1]), trainer.world_size, trainer.accumulate_grad_batches
        start = (batch_idx % parts) * local * world + trainer.global_rank * local
        rows = Rows(self.seed, self.global_step, start, local * world * parts)
        for dropout in self._dropouts:
            dropout.rows = rows

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Mean cross-entropy of a batch, in nats."""
        images, labels = batch
        loss = F.cross_entropy(self(images), labels)
        trainer: Any = self.trainer
        if trainer.loggers and self.global_step % trainer.log_every_n_steps == 0:
            self.log("train_loss", loss, sync_dist=False, batch_size=len(labels))
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Adds a batch to the validation metrics."""
        self._evaluate("val", batch)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Adds a batch to the test metrics."""
        self._evaluate("test", batch)

    def _evaluate(self, stage: str, batch: tuple[Tensor, Tensor]) -> None:
        images, labels = batch
        logits = self(images).float()
        metrics, nll = self.metrics[stage], self.nll[stage]
        assert isinstance(metrics, MetricCollection)
        assert isinstance(nll, MeanMetric)
        # Calibration error raises on NaN, and on no images at all; the NLL keeps the NaN for `_log_metrics`.
        metrics.update(logits.nan_to_num().softmax(-1), labels)
        nll.update(F.cross_entropy(logits, labels, reduction="none"))

    def on_validation_epoch_end(self) -> None:
        """Logs the validation metrics."""
        self._log_metrics("val")

    def on_test_epoch_end(self) -> None:
        """Logs the test metrics."""
        self._log_metrics("test")

    def _log_metrics(self, stage: str) -> None:
        """Logs a stage's metrics over all processes; all of them are NaN where a single logit is not finite."""
        metrics, nll = self.metrics[stage], self.nll[stage]
        assert isinstance(metrics, MetricCollection)
        assert isinstance(nll, MeanMetric)
        values = {**metrics.compute(), f"{stage}_nll": nll.compute()}
        if not values[f"{stage}_nll"].isfinite():
            values = dict.fromkeys(values, values[f"{stage}_nll"] * math.nan)
        self.log_dict(values)
        metrics.reset()
        nll.reset()

    def on_validation_start(self) -> None:
        """See `_share_buffers`."""
        self._share_buffers()

    def on_test_start(self) -> None:
        """See `_share_buffers`."""
        self._share_buffers()

    def _share_buffers(self) -> None:
        """Gives all processes the running statistics of rank 0, so that all evaluate one and the same model."""
        if self.trainer.world_size > 1 and dist.is_initialized():
            for buffer in self.net.buffers():
                dist.broadcast(buffer, src=0)

    def configure_optimizers(self) -> Any:
        """The optimizer, with its schedule stepped after every optimizer step."""
        config = self.optimizer_config
        datamodule = getattr(self.trainer, "datamodule", None)
        lr = learning_rate(config, getattr(datamodule, "batch_size", None))
        # foreach: one call for all parameters; a loop over them costs more than the arithmetic on small models.
        kinds: dict[str, Any] = {
            "sgd": lambda p: torch.optim.SGD(
                p, lr=lr, momentum=config.momentum, weight_decay=config.weight_decay, foreach=True
            ),
            "adam": lambda p: torch.optim.Adam(p, lr=lr, weight_decay=config.weight_decay, foreach=True),
            "adamw": lambda p: torch.optim.AdamW(p, lr=lr, weight_decay=config.weight_decay, foreach=True),
        }
        optimizer = kinds[config.name](self.net.parameters())
        if config.schedule == "constant" and config.warmup_steps == 0:
            return optimizer
        total = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: lr_factor(config, step, total))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


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
