"""Which GPUs a study may use, told without torch, and which of them a worker sees."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from normbench.spec.resolve import devices
from normbench.spec.schema import RunConfig

VARIABLE = "CUDA_VISIBLE_DEVICES"
DRIVER = Path("/proc/driver/nvidia/gpus")


def visible_gpus() -> list[str]:
    """Names of the NVIDIA GPUs that processes started here see, as CUDA_VISIBLE_DEVICES names them."""
    listed = os.environ.get(VARIABLE)
    if listed is not None:
        return [name.strip() for name in listed.split(",") if name.strip() and name.strip() != "-1"]
    return [str(index) for index in range(len(list(DRIVER.iterdir())))] if DRIVER.is_dir() else []


def gpus_to_share(configs: Iterable[RunConfig]) -> list[str]:
    """GPUs to deal out, one to a worker; none where a run stays on the CPU or needs several devices itself."""
    for config in configs:
        if config.trainer.accelerator not in {"auto", "gpu", "cuda"} or devices(config) > 1:
            return []
    return visible_gpus()


def claim(gpus: list[str], slot: int) -> None:
    """Makes GPU number `slot` (in turn) the only one that this process sees; before torch is imported."""
    if gpus:
        os.environ[VARIABLE] = gpus[slot % len(gpus)]
