"""Dropout whose mask depends on (seed, layer name, optimizer step, image of the global batch) alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from normbench.seeds import generator


@dataclass(frozen=True)
class Rows:
    """Where the images at hand stand in the global batch of an optimizer step.

    Args:
        seed: Seed of the run.
        step: Optimizer step.
        start: Row of the first image at hand.
        total: Images in the global batch.
    """

    seed: int
    step: int
    start: int
    total: int


class SeededDropout(nn.Module):
    """Inverted dropout of (N, ...) with probability `p`.

    The mask of the whole global batch is drawn and the rows at hand are taken, so that neither the norm, nor
    the number of devices, nor gradient accumulation, nor a resumed run changes which units are dropped.
    Without `rows` (no NormClassifier around it) this is torch's own dropout.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self.name = ""
        self.rows: Rows | None = None

    def extra_repr(self) -> str:
        return f"p={self.p}"

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        if self.rows is None:
            return F.dropout(x, self.p)
        rows = self.rows
        draws = torch.rand((rows.total, *x.shape[1:]), generator=generator(rows.seed, "dropout", self.name, rows.step))
        kept = draws[rows.start : rows.start + len(x)].to(x.device) >= self.p
        return x * kept.to(x.dtype) / (1 - self.p)
