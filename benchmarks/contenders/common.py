"""What the contenders have in common: how they are told what to do, and how they are timed."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

WARMUP_STEPS, LEAST_STEPS = 10, 10
MEAN, STD = 0.1307, 0.3081
TRAIN, VALIDATION = 55_000, 5_000
EVALUATION_BATCH = 1000


def asked() -> dict[str, Any]:
    """What the driver asks for, from the command line: model, norm, batch, data, and seconds or samples."""
    found: dict[str, Any] = json.loads(sys.argv[1])
    return found


def synchronize() -> None:
    """Waits for what a GPU was given to do. (On a CPU there is nothing to wait for.)"""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def wait_for_go() -> None:
    """Tells the driver that this process has warmed up, and waits until all that run at a time have."""
    print("ready", flush=True)
    sys.stdin.readline()


class Stopwatch:
    """Times steps from the end of the warm-up on.

    Args:
        seconds: How long.
        wait: Called before the clock is read.
    """

    def __init__(self, seconds: float, wait: Callable[[], None] = synchronize) -> None:
        self.limit, self.wait = seconds, wait
        self.steps = 0
        self.since = self.seconds = 0.0

    def enough(self) -> bool:
        """Called after each step; True when it is time to stop."""
        self.steps += 1
        if self.steps == WARMUP_STEPS:
            self.wait()
            wait_for_go()
            self.since = time.perf_counter()
        timed = self.steps - WARMUP_STEPS
        if timed < LEAST_STEPS or time.perf_counter() - self.since < self.limit:
            return False
        self.wait()
        self.seconds = time.perf_counter() - self.since
        return True

    def tell(self, per_step: float) -> None:
        """Sends the driver what was done in a second, `per_step` in each step."""
        tell((self.steps - WARMUP_STEPS) * per_step / self.seconds)


def tell(rate: float) -> None:
    """Sends the driver a rate."""
    print(json.dumps({"rate": rate}), flush=True)
