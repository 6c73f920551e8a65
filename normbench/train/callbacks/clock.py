"""Seconds of training alone: without evaluation, checkpoints, probes, set-up and the first, slow steps."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

WARMUP_STEPS = 10


class Clock:
    """A clock that is stopped whenever something other than training happens.

    Warm-up steps (the first ten, or a tenth of a shorter budget) count for nothing: `seconds` is 0 until they are
    over. metrics.csv and result.json both take their times from here. On an accelerator the clock waits for what was
    launched before it is read at a stop; the CUDA path was not run in the tests.
    """

    def __init__(self, steps: int) -> None:
        self.warmup = min(WARMUP_STEPS, steps // 10)
        self.device = torch.device("cpu")
        self._total = 0.0
        self._warmup_seconds = 0.0 if self.warmup == 0 else None
        self._since: float | None = None

    def start(self) -> None:
        """Goes on, unless it runs."""
        if self._since is None:
            self._synchronize()
            self._since = time.perf_counter()

    def stop(self) -> None:
        """Stands still, if it runs."""
        if self._since is not None:
            self._synchronize()
            self._total, self._since = self._elapsed(), None

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Stands still for a while, and then goes on if it ran before."""
        ran = self._since is not None
        self.stop()
        try:
            yield
        finally:
            if ran:
                self.start()

    def end_warmup(self) -> None:
        """What passed so far was warm-up."""
        self._synchronize()
        self._warmup_seconds = self._elapsed()

    @property
    def seconds(self) -> float:
        """Seconds of training after the warm-up."""
        return 0.0 if self._warmup_seconds is None else self._elapsed() - self._warmup_seconds

    def _elapsed(self) -> float:
        return self._total + (time.perf_counter() - self._since if self._since is not None else 0.0)

    def _synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()

    def state(self) -> dict[str, Any]:
        """What a resumed run goes on with."""
        return {"total": self._elapsed(), "warmup": self._warmup_seconds}

    def restore(self, state: dict[str, Any]) -> None:
        """Takes up what `state` gave."""
        self._total, self._warmup_seconds = state["total"], state["warmup"]
