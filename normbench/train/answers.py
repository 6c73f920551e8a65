"""What a network answers to the images of an evaluation, one answer an image over all processes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor


class Answers:
    """Predicted classes and labels of the images evaluated since the last `clear`."""

    def __init__(self) -> None:
        self._batches: list[Tensor] = []

    def clear(self) -> None:
        """Forgets them."""
        self._batches = []

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Takes a batch: logits (N, K), labels (N,). NaN counts as a class like any other."""
        self._batches.append(torch.stack([logits.argmax(-1), labels]))

    def gathered(self, world_size: int) -> np.ndarray[Any, Any]:
        """Classes and labels, int64 (2, images), in the order of the images. Every process has to call it.

        The processes hold consecutive parts of the images, as `EvalLoader` divides them.
        """
        own = torch.cat(self._batches, dim=1).cpu().numpy() if self._batches else np.empty((2, 0), dtype=np.int64)
        if world_size == 1 or not dist.is_initialized():
            return own
        parts: list[Any] = [None] * world_size
        dist.all_gather_object(parts, own)
        return np.concatenate(parts, axis=1)
