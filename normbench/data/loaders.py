"""Batches taken from one tensor by indexing: shuffled ones to train on, and every image once to evaluate on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from normbench.data.augment import draws
from normbench.errors import UsageError
from normbench.seeds import generator
from normbench.spec.corruptions import Corruption
from normbench.spec.counts import evaluation_batches

if TYPE_CHECKING:
    from normbench.data.module import MNISTDataModule

Batch = tuple[Tensor, Tensor]


@dataclasses.dataclass(frozen=True)
class Split:
    """Images of one split, as rows of a tensor that splits share (a file that processes of one machine map).

    Args:
        pixels: uint8 (M, C, H, W).
        rows: Which of `pixels` are this split's, int64 (N,).
        labels: Their labels, int64 (N,).
    """

    pixels: Tensor
    rows: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def images(self) -> Tensor:
        """A copy of all images of the split, uint8 (N, C, H, W)."""
        return self.pixels[self.rows]

    def at(self, indices: Tensor) -> Batch:
        """Images, uint8 (n, C, H, W), and labels, int64 (n,), at `indices` of the split."""
        indices = indices.to(self.rows.device)
        return self.pixels[self.rows[indices]], self.labels[indices]

    def to(self, device: torch.device) -> Split:
        """The same on `device`, without the images of other splits."""
        return Split(self.images.to(device), torch.arange(len(self), device=device), self.labels.to(device))


class TrainLoader:
    """The training batches of one device: consecutive slices of the epoch's permutation.

    The permutation depends on (seed, epoch) alone. Only full batches are trained on. With `world` devices each
    global batch is divided into consecutive parts of which this loader yields part `rank`. Its state is its
    position, so that a run resumes with the batch after the last one it trained on. An epoch that is left before its
    end (a limit on its batches, the end of the budget) leaves nothing behind: the next one begins with its first
    batch, unless a state was loaded.

    Where the data module has a `block`, which tells how many batches are wanted at once, so many are yielded as one,
    one after the other along the first axis, though never beyond the end of the epoch; the length stays that of the
    epoch in batches.
    """

    def __init__(self, data: MNISTDataModule, split: Split, world: int, rank: int) -> None:
        self.data, self.split, self.world, self.rank = data, split, world, rank
        self.yielded = 0
        self._first = 0  # where the next epoch begins: not at 0 only after a state was loaded

    def __len__(self) -> int:
        return int(len(self.split) // self.data.batch_size) * self.data.accumulate

    def __iter__(self) -> Iterator[Batch]:
        data = self.data
        first, self._first = self._first, 0
        if first >= min(len(self), data.batch_limit):  # the state of an epoch that was done
            first = 0
        self.yielded = first
        order = torch.randperm(len(self.split), generator=generator(data.seed, "order", data.epoch))
        augments = data.config.augment != "none"
        numbers = draws(data.seed, data.epoch, len(self.split)) if augments else None
        part = data.batch_size // data.accumulate
        if data.block is not None:
            while self.yielded < len(self):
                start, self.yielded = self.yielded, min(self.yielded + data.block(), len(self))
                yield data.batch(self.split, order[start * part : self.yielded * part], numbers)
        else:
            own = part // self.world
            for index in range(first, len(self)):
                start = index * part + self.rank * own
                self.yielded = index + 1
                yield data.batch(self.split, order[start : start + own], numbers)
        self.yielded = 0

    def state_dict(self) -> dict[str, int]:
        """The position in the epoch."""
        return {"yielded": self.yielded}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continues after the batch that `state` names."""
        self.yielded = self._first = state["yielded"]


class EvalLoader:
    """Every image exactly once over all devices; all devices have equally many batches and none is padded.

    Args:
        data: The data module.
        split: The images.
        world: Devices.
        rank: Which of them this is.
        part: Asked at the beginning of each evaluation which of the images it is over, int64 (n,); None for all.
        corruption: How the images are changed.

    Raises:
        UsageError: Fewer images than devices: one would have nothing to evaluate.
    """

    def __init__(
        self,
        data: MNISTDataModule,
        split: Split,
        world: int,
        rank: int,
        part: Callable[[], Tensor | None] | None = None,
        corruption: Corruption | None = None,
    ) -> None:
        self.data, self.split, self.world, self.rank, self.part = data, split, world, rank, part
        self.corruption = corruption
        if len(split) < world:
            raise UsageError(f"{len(split)} images cannot be evaluated on {world} devices: give each one at least")

    def __len__(self) -> int:
        return evaluation_batches(len(self.split), self.world)

    def __iter__(self) -> Iterator[Batch]:
        part = self.part() if self.part is not None else None
        images = torch.arange(len(self.split)) if part is None else part
        own = images.tensor_split(self.world)[self.rank]
        for indices in own.tensor_split(evaluation_batches(len(images), self.world)):
            yield self.data.batch(self.split, indices, corruption=self.corruption)
