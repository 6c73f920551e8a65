"""MNISTDataModule: the images as one tensor, and batches taken from it by indexing."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from normbench.data.source import CLASSES, ensure, get_dataset, read, stratified_split
from normbench.errors import UsageError
from normbench.seeds import generator
from normbench.spec.schema import DataConfig

EVAL_BATCH = 500
SPLIT_SEED = 2018  # one validation split for all runs, whatever their seed


@dataclasses.dataclass(frozen=True)
class Split:
    """Images of one split: uint8 (N, 1, 28, 28), and labels, int64 (N,)."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> Split:
        """The same on `device`."""
        return Split(self.images.to(device), self.labels.to(device))


@lru_cache(maxsize=4)
def _splits(config: DataConfig) -> tuple[dict[str, Split], dict[str, str]]:
    """Train, validation and test of a data set whose files are there, and the MD5 of each file. Once a process."""
    images = read(config)
    facts = get_dataset(images.name)
    pixels, labels = images.train
    train, validation = stratified_split(labels, facts.validation, SPLIT_SEED)
    if config.train_samples is not None and config.train_samples < len(train):
        _, kept = stratified_split(labels[train], config.train_samples, SPLIT_SEED + 1)
        train = train[kept]
    parts = {
        "train": (pixels[train], labels[train]),
        "validation": (pixels[validation], labels[validation]),
        "test": images.test,
    }
    tensors = {
        name: Split(torch.from_numpy(x.copy()).unsqueeze(1), torch.from_numpy(y.astype("int64")))
        for name, (x, y) in parts.items()
    }
    return tensors, images.md5


@lru_cache(maxsize=4)
def _splits_on(config: DataConfig, device: torch.device) -> dict[str, Split]:
    return {name: split.to(device) for name, split in _splits(config)[0].items()}


class TrainLoader:
    """The training batches of one device: consecutive slices of the epoch's permutation.

    The permutation depends on (seed, epoch) alone. Only full batches are trained on. With `world` devices each
    global batch is divided into consecutive parts of which this loader yields part `rank`. Its state is its
    position, so that a run resumes with the batch after the last one it trained on.
    """

    def __init__(self, data: MNISTDataModule, split: Split, world: int, rank: int) -> None:
        self.data, self.split, self.world, self.rank = data, split, world, rank
        self.yielded = 0

    def __len__(self) -> int:
        return int(len(self.split) // self.data.batch_size) * self.data.accumulate

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        data = self.data
        if self.yielded >= len(self):
            self.yielded = 0
        order = torch.randperm(len(self.split), generator=generator(data.seed, "order", data.epoch))
        part = data.batch_size // data.accumulate
        own = part // self.world
        for index in range(self.yielded, len(self)):
            start = index * part + self.rank * own
            self.yielded = index + 1
            yield data.batch(self.split, order[start : start + own])
        self.yielded = 0

    def state_dict(self) -> dict[str, int]:
        """The position in the epoch."""
        return {"yielded": self.yielded}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continues after the batch that `state` names."""
        self.yielded = state["yielded"]


class EvalLoader:
    """Every image exactly once over all devices; all devices have equally many batches and none is padded."""

    def __init__(self, data: MNISTDataModule, split: Split, world: int, rank: int) -> None:
        self.data, self.split, self.world, self.rank = data, split, world, rank

    def __len__(self) -> int:
        largest = math.ceil(len(self.split) / self.world)
        return math.ceil(largest / EVAL_BATCH)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        own = torch.arange(len(self.split)).tensor_split(self.world)[self.rank]
        for indices in own.tensor_split(len(self)):
            yield self.data.batch(self.split, indices)


class MNISTDataModule(pl.LightningDataModule):
    """MNIST, Fashion-MNIST or the embedded 5,000 digits, for any Trainer.

    Batches are (images, labels): float32 (N, 1, 28, 28), standardised, and int64 (N,). Training has 55,000
    images, validation 5,000 (stratified, the same for all seeds), test is the official 10,000 (mnist_5k: 3,500,
    500 and 1,000). `batch_size` is the global batch of an optimizer step.

    Args:
        name: mnist, fashion_mnist or mnist_5k.
        batch_size: Global batch size.
        train_samples: Train on a stratified subset of this many images.
        dir: Folder of the files; see `normbench train --help`.
        allow_embedded: Fall back to mnist_5k where mnist cannot be had.
        seed: Decides the order of the training images.
    """

    def __init__(
        self,
        name: str = "mnist",
        batch_size: int = 64,
        train_samples: int | None = None,
        dir: str | None = None,  # noqa: A002  (the configuration's name for it)
        allow_embedded: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.config = DataConfig(name, batch_size, train_samples, dir, allow_embedded)
        self.dataset = get_dataset(name)
        self.batch_size = batch_size
        self.seed = seed
        self.num_classes = CLASSES
        self._device: torch.device | None = None

    def prepare_data(self) -> None:
        """Downloads what is missing; one process a node does it, under a lock."""
        ensure(self._files)

    def setup(self, stage: str | None = None) -> None:
        """Reads and splits the files, once a process; on a GPU the tensors live there."""
        self.dataset = get_dataset(ensure(self._files))
        self._files_used = dataclasses.replace(self._files, name=self.dataset.name)
        self._splits, self.md5 = _splits(self._files_used)
        check_batch(self.batch_size, self.dataset.name, len(self._splits["train"]))
        if self.trainer is not None:
            device = self.trainer.strategy.root_device
            if device.type != "cpu":
                self._splits = _splits_on(self._files_used, device)

    @property
    def _files(self) -> DataConfig:
        """The part of the configuration that decides the splits; equal parts share one set of tensors."""
        return dataclasses.replace(self.config, batch_size=1)

    @property
    def accumulate(self) -> int:
        """Parts into which the global batch is split one after the other."""
        return int(self.trainer.accumulate_grad_batches) if self.trainer is not None else 1

    @property
    def epoch(self) -> int:
        """The epoch whose order comes next; overfitting goes over the same batches again and again."""
        trainer: Any = self.trainer
        return int(trainer.current_epoch) if trainer is not None and not trainer.overfit_batches else 0

    def batch(self, split: Split, indices: Tensor) -> tuple[Tensor, Tensor]:
        """The standardised images and the labels of `split` at `indices`."""
        indices = indices.to(split.images.device)
        pixels = split.images[indices].to(torch.float32)
        facts = self.dataset
        return pixels.sub_(255 * facts.mean).div_(255 * facts.std), split.labels[indices]

    def train_dataloader(self) -> TrainLoader:
        """This device's part of every global batch."""
        world, rank = self._place()
        parts = world * self.accumulate
        if self.batch_size % parts:
            raise UsageError(
                f"data.batch_size={self.batch_size} is the global batch and cannot be divided among {world} devices"
                + (f" and {self.accumulate} accumulated parts" if self.accumulate > 1 else "")
                + f": choose a multiple of {parts}"
            )
        return TrainLoader(self, self._splits["train"], world, rank)

    def val_dataloader(self) -> EvalLoader:
        """The validation images."""
        return EvalLoader(self, self._splits["validation"], *self._place())

    def test_dataloader(self) -> EvalLoader:
        """The test images."""
        return EvalLoader(self, self._splits["test"], *self._place())

    def _place(self) -> tuple[int, int]:
        return (self.trainer.world_size, self.trainer.global_rank) if self.trainer is not None else (1, 0)

    def facts(self) -> dict[str, Any]:
        """What a result records of its data: the data set it really is, image counts, MD5 of the files."""
        return {
            "name": self.dataset.name,
            "train": len(self._splits["train"]),
            "validation": len(self._splits["validation"]),
            "test": len(self._splits["test"]),
            "md5": self.md5,
        }


def check_batch(batch_size: int, name: str, train: int) -> None:
    """Raises UsageError for a batch that is not positive or larger than the training set of data set `name`."""
    if batch_size < 1:
        raise UsageError(f"data.batch_size={batch_size} is not positive: choose 1 or more")
    if batch_size > train:
        raise UsageError(
            f"data.batch_size={batch_size} is larger than the {train:,} training images of {name}: "
            "choose a smaller batch or more data.train_samples"
        )
