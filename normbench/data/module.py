"""MNISTDataModule: any registered data set, split and batched, for any Trainer."""

from __future__ import annotations

import dataclasses
import os
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from normbench.data.augment import Augment, augmented
from normbench.data.corruptions import corrupted
from normbench.data.loaders import Batch, EvalLoader, Split, TrainLoader
from normbench.data.registry import DatasetFacts, dataset_facts, key_of, read
from normbench.data.source import ensure, on_disk
from normbench.data.splits import SPLIT_SEED, split_counts, split_rows, stratified_split
from normbench.errors import UsageError
from normbench.spec.corruptions import Corruption
from normbench.spec.schema import DataConfig, Seed, hints
from normbench.spec.values import checked, plain

Splits = dict[str, Split]
_in_memory: OrderedDict[tuple[Any, ...], Splits] = OrderedDict()  # for the next run in this process
KEPT = 4


class MNISTDataModule(pl.LightningDataModule):
    """The images of a registered data set, for any Trainer.

    Batches are (images, labels): float32 (N, C, H, W), standardised, and int64 (N,). For mnist, training has 55,000
    images, validation 5,000 (stratified, the same for all seeds), test is the official 10,000 (mnist_5k: 3,500,
    500 and 1,000). `batch_size` is the global batch of an optimizer step. On a GPU the images stay there.

    Example:
        >>> data = MNISTDataModule("mnist_5k", batch_size=32)
        >>> data.setup()
        >>> images, labels = next(iter(data.train_dataloader()))
        >>> images.shape
        torch.Size([32, 1, 28, 28])

    Args:
        name: Data set: mnist, fashion_mnist, mnist_5k, npz or one of your own.
        batch_size: Global batch size.
        train_samples: Train on a stratified subset of this many images.
        dir: Folder of the files; see `normbench train --help`.
        allow_embedded: Fall back to mnist_5k where mnist cannot be had.
        seed: Decides the order of the training images. None takes the seed of Lightning's `seed_everything` where
            that was called before, else 0.
        validation: Images taken out of the training set to validate on. None takes the data set's own number; with 0
            there is no validation.
        standardize: Subtract each channel's mean and divide by its standard deviation; False leaves pixels in [0, 1].
        augment: Random crops, flips or both of the training images: none, crop, flip or crop_flip.
        options: Options of the data set, for example path="digits.npz" of npz.

    Raises:
        UsageError: For a value that cannot be.
        DataError: For files that are missing, damaged or foreign.
    """

    def __init__(  # noqa: PLR0913  (the keys of the section)
        self,
        name: str = "mnist",
        batch_size: int = 64,
        train_samples: int | None = None,
        dir: str | None = None,  # noqa: A002  (the configuration's name for it)
        allow_embedded: bool = True,
        seed: int | None = None,
        *,
        validation: int | None = None,
        standardize: bool = True,
        augment: Augment = "none",
        **options: Any,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False)  # a module's own `seed` and `name` would clash in a logger
        given = {
            "name": name,
            "batch_size": batch_size,
            "train_samples": train_samples,
            "validation": validation,
            "standardize": standardize,
            "augment": augment,
            "dir": None if dir is None else str(dir),
            "allow_embedded": allow_embedded,
        }
        known = hints("data")
        own = {key: checked(value, known[key], f"data.{key}") for key, value in given.items()}
        self.config = DataConfig(**own, options={key: plain(value) for key, value in options.items()})
        self.batch_size = self.config.batch_size
        self.seed = _seed(seed)
        self.hparams.update(own | self.config.options, seed=self.seed)  # plain values, which torch's weights_only reads
        self._dataset: DatasetFacts | None = None
        self._used = self.config
        self._splits: Splits = {}
        # Set by who trains, and can know: how many batches come next as one, and how many validation images do for
        # now (None for all).
        self.block: Callable[[], int] | None = None
        self.validate_on: Callable[[], int | None] | None = None
        self.corruption: Corruption | None = None  # of the test images, for now

    @classmethod
    def from_config(cls, config: DataConfig, seed: int) -> MNISTDataModule:
        """The data module of a run's `data` section."""
        own = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
        options = own.pop("options")
        return cls(**own, seed=seed, **options)

    @property
    def dataset(self) -> DatasetFacts:
        """Facts of the data set: after `setup`, of the one that is really used."""
        if self._dataset is None:
            self._dataset = dataset_facts(self.config)
        return self._dataset

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return self.dataset.classes

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        return self.dataset.image

    def prepare_data(self) -> None:
        """Downloads what is missing; one process a node does it, under a lock."""
        ensure(self.config)

    def setup(self, stage: str | None = None) -> None:
        """Reads and splits the files, once a process; on a GPU the tensors live there."""
        name = self._name()
        fell_back = name != self.config.name
        self._used = dataclasses.replace(self.config, name=name, options={} if fell_back else self.config.options)
        device = self.trainer.strategy.root_device if self.trainer is not None else torch.device("cpu")
        self._splits = splits(self._used, device)
        facts = dataset_facts(self._used)
        if not facts.mean:
            images = read(self._used)
            facts = dataclasses.replace(facts, mean=images.mean or (), std=images.std or ())
        self._dataset = facts
        train = len(self._splits["train"])
        if self.batch_size > train:
            raise UsageError(
                f"data.batch_size={self.batch_size} is larger than the {train:,} training images of {name}: "
                "choose a smaller batch or more data.train_samples"
            )

    def _name(self) -> str:
        """The data set to use. Under a Trainer `prepare_data` has tried the network, and rank 0 decides for all."""
        trainer: Any = self.trainer
        if trainer is None:
            return ensure(self.config)
        name = on_disk(self.config, announce=trainer.global_rank == 0)
        return str(trainer.strategy.broadcast(name)) if trainer.world_size > 1 else name

    @property
    def accumulate(self) -> int:
        """Parts into which the global batch is split one after the other."""
        return int(self.trainer.accumulate_grad_batches) if self.trainer is not None else 1

    @property
    def epoch(self) -> int:
        """The epoch whose order comes next; overfitting goes over the same batches again and again."""
        trainer: Any = self.trainer
        return int(trainer.current_epoch) if trainer is not None and not trainer.overfit_batches else 0

    @property
    def batch_limit(self) -> float:
        """Batches of an epoch at most, as the Trainer limits them."""
        return float(self.trainer.num_training_batches) if self.trainer is not None else float("inf")

    def batch(
        self, split: Split, indices: Tensor, numbers: Tensor | None = None, corruption: Corruption | None = None
    ) -> Batch:
        """The images, standardised or between 0 and 1, and the labels of `split` at `indices`.

        Args:
            split: The images.
            indices: Which of them, int64 (n,).
            numbers: What decides how each image of the split is augmented (see `augment.draws`); None leaves them.
            corruption: How they are changed.
        """
        pixels, labels = split.at(indices)
        if numbers is not None:
            pixels = augmented(pixels, numbers[indices], self.config.augment)
        pixels = pixels.to(torch.float32)
        if corruption is not None:
            pixels = corrupted(pixels / 255, corruption, self.seed, indices) * 255
        if not self.config.standardize:
            return pixels.div_(255), labels
        facts = self.dataset
        if len(facts.mean) == 1:  # plain numbers: a GPU divides by them otherwise than by a tensor
            return pixels.sub_(255 * facts.mean[0]).div_(255 * facts.std[0]), labels
        mean, std = (pixels.new_tensor(values).mul_(255).view(-1, 1, 1) for values in (facts.mean, facts.std))
        return pixels.sub_(mean).div_(std), labels

    def split(self, name: str) -> Split:
        """The images of train, validation or test, after `setup`."""
        return self._splits[name]

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

    def val_dataloader(self) -> EvalLoader | list[Any]:
        """The validation images; an empty list, for which a Trainer does not validate, where there are none."""
        split = self._splits["validation"]
        return EvalLoader(self, split, *self._place(), part=self._validation_part) if len(split) else []

    def _validation_part(self) -> Tensor | None:
        """The images of the validation split that the next evaluation is over: stratified, always the same ones."""
        split, count = self._splits["validation"], self.validate_on() if self.validate_on is not None else None
        if count is None or count >= len(split):
            return None
        _, chosen = stratified_split(split.labels.cpu().numpy(), count, SPLIT_SEED + 2)
        return torch.from_numpy(chosen)

    def test_dataloader(self) -> EvalLoader:
        """The test images."""
        return EvalLoader(self, self._splits["test"], *self._place(), corruption=self.corruption)

    def predict_dataloader(self) -> EvalLoader:
        """The test images, in their order."""
        return self.test_dataloader()

    def _place(self) -> tuple[int, int]:
        return (self.trainer.world_size, self.trainer.global_rank) if self.trainer is not None else (1, 0)

    def facts(self) -> dict[str, Any]:
        """What a result records of its data: the data set it really is, image counts and sizes, MD5 of the files."""
        facts = self.dataset
        return {
            "name": facts.name,
            **{name: len(split) for name, split in self._splits.items()},
            "classes": facts.classes,
            "image": list(facts.image),
            **({"digest": facts.digest} if facts.digest else {}),
            "md5": dict(read(self._used).md5),
        }


def splits(config: DataConfig, device: torch.device) -> Splits:
    """The splits train, validation and test of a data set whose files are there, on `device`. Once a process."""
    key = (key_of(config), config.validation, config.train_samples, device)
    if key not in _in_memory:
        _in_memory[key] = (
            _splits_in_memory(config)
            if device.type == "cpu"
            else {name: split.to(device) for name, split in splits(config, torch.device("cpu")).items()}
        )
        while len(_in_memory) > KEPT:
            _in_memory.popitem(last=False)
    _in_memory.move_to_end(key)
    return _in_memory[key]


def _splits_in_memory(config: DataConfig) -> Splits:
    images = read(config)
    (pixels, labels), (test_pixels, test_labels) = images.train, images.test
    samples, validation = split_counts(
        config.name, len(labels), images.validation or 0, config.validation, config.train_samples
    )
    shape = images.image
    base, labels_of = torch.from_numpy(_writable(pixels)).view(-1, *shape), torch.from_numpy(labels.astype("int64"))
    train, held_out = (torch.from_numpy(rows) for rows in split_rows(labels, validation, samples))
    test = torch.from_numpy(_writable(test_pixels)).view(-1, *shape)
    return {
        "train": Split(base, train, labels_of[train]),
        "validation": Split(base, held_out, labels_of[held_out]),
        "test": Split(test, torch.arange(len(test)), torch.from_numpy(test_labels.astype("int64"))),
    }


def _writable(pixels: Any) -> Any:
    """The array itself where torch takes it as it is, else a copy (it warns of arrays that cannot be written)."""
    return pixels if pixels.flags.writeable and pixels.flags.c_contiguous else pixels.copy(order="C")


def _seed(seed: int | None) -> int:
    """`seed`, or what `seed_everything` left for the processes of this run, or 0."""
    given = os.environ.get("PL_GLOBAL_SEED") if seed is None else None
    if given is None:
        return int(checked(0 if seed is None else seed, Seed, "seed"))
    try:
        return int(given)
    except ValueError:
        raise UsageError(f"PL_GLOBAL_SEED={given} is not a whole number: give a seed") from None
