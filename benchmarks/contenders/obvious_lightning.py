"""What a user writes with Lightning: a LightningModule that logs, DataLoaders, a Trainer. Threads are the default.

Quicker than Lightning's defaults: no logger, no checkpoints, no progress bar.
"""

from __future__ import annotations

import tempfile
import warnings
from typing import Any

import lightning.pytorch as pl
import torch
from common import EVALUATION_BATCH, MEAN, STD, TRAIN, VALIDATION, Stopwatch, asked
from networks import network
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, random_split
from torchvision import datasets, transforms


class Classifier(pl.LightningModule):
    """As in Lightning's own examples."""

    def __init__(self, model: str, norm: str) -> None:
        super().__init__()
        self.net = network(model, norm)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        images, labels = batch
        loss = F.cross_entropy(self.net(images), labels)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self._evaluate("val", batch)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self._evaluate("test", batch)

    def _evaluate(self, stage: str, batch: Any) -> None:
        images, labels = batch
        logits = self.net(images)
        self.log(f"{stage}_loss", F.cross_entropy(logits, labels))
        self.log(f"{stage}_accuracy", (logits.argmax(1) == labels).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=1e-3)


class Timed(pl.Callback):
    """Stops the training when it was timed long enough."""

    def __init__(self, watch: Stopwatch) -> None:
        self.watch, self.done = watch, False

    def on_train_batch_end(self, trainer: pl.Trainer, *arguments: Any) -> None:
        if not self.done and self.watch.enough():
            self.done = trainer.should_stop = True


def main() -> None:
    ask = asked()
    warnings.filterwarnings("ignore")
    pl.seed_everything(ask.get("seed", 0))
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((MEAN,), (STD,))])
    train, val = random_split(datasets.MNIST(ask["data"], train=True, transform=transform), [TRAIN, VALIDATION])
    test = datasets.MNIST(ask["data"], train=False, transform=transform)
    workers = ask["workers"]
    loader = DataLoader(train, batch_size=ask["batch"], shuffle=True, num_workers=workers)
    val_loader = DataLoader(val, batch_size=EVALUATION_BATCH, num_workers=workers)
    test_loader = DataLoader(test, batch_size=EVALUATION_BATCH, num_workers=workers)
    module = Classifier(ask["model"], ask["norm"])
    options: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    with tempfile.TemporaryDirectory() as folder:
        if "seconds" in ask:
            watch = Stopwatch(ask["seconds"])
            trainer = pl.Trainer(
                max_epochs=-1, limit_val_batches=0, callbacks=[Timed(watch)], default_root_dir=folder, **options
            )
            trainer.fit(module, loader)
            watch.tell(ask["batch"])
            return
        steps = ask["samples"] // ask["batch"]
        trainer = pl.Trainer(
            max_steps=steps,
            val_check_interval=steps // ask["validations"],
            check_val_every_n_epoch=None,
            default_root_dir=folder,
            **options,
        )
        trainer.fit(module, loader, val_loader)
        trainer.test(module, test_loader)


if __name__ == "__main__":
    main()
