"""NormClassifier: the LightningModule that trains a model whose norm is a name."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping
from typing import Any, TypeVar, cast

import lightning.pytorch as pl
import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassCalibrationError

from normbench.errors import UsageError
from normbench.models import build_model
from normbench.models.dropout import Rows, SeededDropout
from normbench.models.registry import CLASSES, IMAGE, completed
from normbench.norms import facts
from normbench.spec.resolve import check_init, own_values, resolve_optimizer
from normbench.spec.schedule import learning_rate, lr_factor
from normbench.spec.schema import ModelConfig, OptimizerConfig, Seed
from normbench.spec.values import Count, checked
from normbench.train.answers import Answers
from normbench.train.decay import parameter_groups
from normbench.train.initialisation import Rule, initialise
from normbench.train.optimizers import build_optimizer

CALIBRATION_BINS = 15
Batch = tuple[Tensor, Tensor]
Section = TypeVar("Section", ModelConfig, OptimizerConfig)


class NormClassifier(pl.LightningModule):
    """Softmax classifier of (N, C, H, W) images, trained with cross-entropy.

    Logs train_loss, and for validation and test: accuracy (a fraction), nll (nats an image) and calibration_error
    (expected calibration error, 15 bins, a fraction), each over every image exactly once; all three are NaN where a
    logit is not finite. `Trainer.predict` gives logits. `NormClassifier.load_from_checkpoint` gives back an equal
    module. A layer that has a method `set_step(step, total)` is told the step before each.

    Args:
        model: Architecture and norm: a ModelConfig, or a mapping of its fields.
        optimizer: Optimizer, schedule and learning-rate rule, likewise.
        seed: Decides initial weights and dropout; None takes that of `seed_everything`, or else 0.
        channels_last: Memory layout of the convolutions.
        virtual_devices: See `TrainerConfig`.
        image: Shape (C, H, W) of an image: `MNISTDataModule.image_shape`.
        classes: Number of classes: `MNISTDataModule.num_classes`.

    Raises:
        UsageError: A name, an option or a combination that there is not.

    Example:
        >>> from normbench.config import ModelConfig
        >>> module = NormClassifier(ModelConfig("mlp", norm="group", norm_options={"groups": 4}), seed=1)
        >>> module(torch.zeros(2, 1, 28, 28)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        model: ModelConfig | dict[str, Any] | None = None,
        optimizer: OptimizerConfig | dict[str, Any] | None = None,
        seed: int | None = None,
        channels_last: bool = True,
        virtual_devices: int = 1,
        image: tuple[int, int, int] = IMAGE,
        classes: int = CLASSES,
    ) -> None:
        super().__init__()
        given = _section(ModelConfig, model)
        self.model_config = completed(dataclasses.replace(given, **own_values("model", given)))
        check_init(self.model_config)
        self.optimizer_config = resolve_optimizer(_section(OptimizerConfig, optimizer))
        self.seed = checked(global_seed() if seed is None else seed, Seed, "seed")
        classes = checked(classes, Count, "classes")
        virtual_devices = checked(virtual_devices, Count, "virtual_devices")
        if len(sizes := checked(image, list[Count], "image")) != 3:
            raise UsageError(f"image={sizes}: expected channels, height and width")
        shape = (sizes[0], sizes[1], sizes[2])
        self.save_hyperparameters(
            {
                # Plain values: what a checkpoint holds is read without this package, and by torch's weights_only.
                "model": dataclasses.asdict(self.model_config),
                "optimizer": dataclasses.asdict(self.optimizer_config),
                "seed": self.seed,
                "channels_last": bool(channels_last),
                "virtual_devices": virtual_devices,
                "image": sizes,
                "classes": classes,
            }
        )
        config = self.model_config
        self.net = initialise(
            lambda: build_model(config, shape, classes, virtual_devices),
            self.seed,
            Rule(config.init, config.init_std, config.init_bias),
        )
        self.block_batch: int | None = None
        self._dropouts = []
        for name, module in self.net.named_modules():
            if isinstance(module, SeededDropout):
                module.name = name
                self._dropouts.append(module)
        self._stepped: list[Any] = [m for m in self.net.modules() if callable(getattr(m, "set_step", None))]
        # Norms that may train with what earlier batches left: every batch begins with that of one process, so that
        # neither evaluations nor checkpoints, which share it, change a number.
        remembers = facts(str(config.norm), config.norm_options).remembers
        self._train_with_buffers = remembers or bool(self._stepped)
        if channels_last:
            self.net.to(memory_format=torch.channels_last)
        metrics = MetricCollection(
            {
                "accuracy": MulticlassAccuracy(classes, average="micro"),
                "calibration_error": MulticlassCalibrationError(classes, n_bins=CALIBRATION_BINS),
            },
            compute_groups=False,
        )
        self.metrics = torch.nn.ModuleDict({stage: metrics.clone(prefix=f"{stage}_") for stage in ("val", "test")})
        self.answers = Answers()  # to the test images
        self.nll = torch.nn.ModuleDict({stage: MeanMetric(nan_strategy="disable") for stage in ("val", "test")})

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, K) of images (N, C, H, W)."""
        return cast(Tensor, self.net(images))

    def execute_in_blocks(self, batch_size: int) -> None:
        """From now on a batch of the Trainer is a block: several of `batch_size` images, one optimizer step each."""
        self.block_batch = batch_size
        self.automatic_optimization = False

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Tells dropout where this batch stands in the global one, and layers that ask for it the step.

        Also gives all processes the buffers of rank 0 where training may depend on them.
        """
        if self._train_with_buffers:
            self._share_buffers()
        if self.block_batch is None and (self._dropouts or self._stepped):
            trainer = self.trainer
            local, world, parts = len(batch[1]), trainer.world_size, trainer.accumulate_grad_batches
            start = (batch_idx % parts) * local * world + trainer.global_rank * local
            self._tell_step(self.global_step, start, local * world * parts, first=batch_idx % parts == 0)

    def _tell_step(self, step: int, start: int, size: int, first: bool = True) -> None:
        """Tells dropout and layers the step.

        Args:
            step: Optimizer steps done.
            start: Where the images that come next stand in the global batch.
            size: Images of the global batch.
            first: Whether nothing of this step was computed yet.
        """
        rows = Rows(self.seed, step, start, size)
        for dropout in self._dropouts:
            dropout.rows = rows
        if self._stepped and first:
            total = int(self.trainer.estimated_stepping_batches)
            for layer in self._stepped:
                layer.set_step(step, total)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor | dict[str, Tensor]:
        """Mean cross-entropy of a batch, in nats; of a block: `losses` of its batches, (steps,)."""
        if self.block_batch is not None:
            return {"losses": self._block(batch, self.block_batch)}
        images, labels = batch
        loss = F.cross_entropy(self(images), labels)
        trainer: Any = self.trainer
        if trainer.loggers and self.global_step % trainer.log_every_n_steps == 0:
            self.log("train_loss", loss, sync_dist=False, batch_size=len(labels))
        return loss

    def _block(self, block: Batch, batch_size: int) -> Tensor:
        """Trains on one batch after the other, as Lightning would, and gives their losses."""
        optimizer: Any = self.optimizers(use_pl_optimizer=False)
        schedule: Any = self.lr_schedulers()
        # Lightning counts optimizer steps in here; its own wrapper of an optimizer costs as much as the step.
        done = self.trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress
        losses: list[Tensor] = []
        for images, labels in zip(*(part.split(batch_size) for part in block), strict=True):
            if self._dropouts or self._stepped:
                self._tell_step(self.global_step, 0, batch_size)

            def closure(images: Tensor = images, labels: Tensor = labels) -> Tensor:
                loss = F.cross_entropy(self.net(images), labels)
                optimizer.zero_grad()
                loss.backward()
                losses.append(loss.detach())
                return loss

            done.increment_ready()
            optimizer.step(closure)
            done.increment_completed()
            if schedule is not None:
                schedule.step()
        return torch.stack(losses)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Adds a batch to the validation metrics."""
        self._evaluate("val", batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Adds a batch to the test metrics."""
        self._evaluate("test", batch)

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Logits (N, K) of a batch of images, or of (images, labels)."""
        return self(batch[0] if isinstance(batch, tuple | list) else batch)

    def _evaluate(self, stage: str, batch: Batch) -> None:
        images, labels = batch
        logits = self(images).float()
        metrics, nll = self.metrics[stage], self.nll[stage]
        assert isinstance(metrics, MetricCollection)
        assert isinstance(nll, MeanMetric)
        # Calibration error raises on NaN, and on no images at all; the NLL keeps the NaN for `_log_metrics`.
        metrics.update(logits.nan_to_num().softmax(-1), labels)
        nll.update(F.cross_entropy(logits, labels, reduction="none"))
        if stage == "test":
            self.answers.add(logits, labels)

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
        self.answers.clear()
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
        optimizer = build_optimizer(
            config.name,
            parameter_groups(self.net, config, lr),
            lr,
            config.options,
            fused=self.trainer.precision != "16-mixed",
        )
        if config.schedule == "constant" and config.warmup_steps == 0:
            return optimizer
        total = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: lr_factor(config, step, total))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def global_seed() -> int:
    """The seed of `seed_everything`, or 0."""
    text = os.environ.get("PL_GLOBAL_SEED", "0")
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"PL_GLOBAL_SEED={text} is not a whole number: give a seed") from None


def _section(kind: type[Section], given: Section | Mapping[str, Any] | None) -> Section:
    """A section of a configuration, from itself, its fields, or nothing."""
    if isinstance(given, kind):
        return given
    if not isinstance(given, Mapping | None):
        raise UsageError(f"{given!r} is no {kind.__name__}: give one, or a mapping of its fields")
    fields = dict(given or {})
    known = {field.name for field in dataclasses.fields(kind)}
    if strange := sorted(fields.keys() - known):
        raise UsageError(f"{kind.__name__} has no field {strange[0]}: known: {', '.join(sorted(known))}")
    return kind(**fields)
