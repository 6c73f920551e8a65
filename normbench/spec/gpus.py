"""Which GPUs this process may use, told without torch."""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "CUDA_VISIBLE_DEVICES"
DRIVER = Path("/proc/driver/nvidia/gpus")


def visible_gpus() -> list[str]:
    """Names of the NVIDIA GPUs that processes started here see, as CUDA_VISIBLE_DEVICES names them."""
    present = len(list(DRIVER.iterdir())) if DRIVER.is_dir() else 0
    listed = os.environ.get(VARIABLE)
    if listed is not None and present:
        return [name.strip() for name in listed.split(",") if name.strip() and name.strip() != "-1"]
    return [str(index) for index in range(present)]
