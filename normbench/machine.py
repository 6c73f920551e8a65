"""Which machine this is, as results record it. A leaf: it imports nothing of the package, nor torch."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any


@cache
def processor() -> str:
    """The CPU's name, as the system says it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def is_here(environment: Mapping[str, Any]) -> bool:
    """Whether what a result records of its machine is that of this one; what it does not record cannot differ."""
    here = {"processor": processor(), "cores": os.cpu_count()}
    return all(environment.get(key, value) == value for key, value in here.items())
