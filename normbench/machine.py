"""Which machine this is, as results record it. A leaf: it imports nothing of the package, nor torch."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path, PurePosixPath
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
    """Cores that this process may use: those that it may run on, or as many as its quota of processor time is worth."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(allowed, math.ceil(min(allowed, quota()))))


def quota(root: Path = Path("/")) -> float:
    """Seconds of processor time a second that the control groups of this process (a container's) leave it, or inf.

    Python's `process_cpu_count` does not know of them: `docker run --cpus=2` lets a process run on all cores, in turns.

    Args:
        root: Where proc and sys are.
    """
    limits = [math.inf]
    with suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            _, controllers, own = line.split(":", 2)  # version 2: no controllers
            if controllers and "cpu" not in controllers.split(","):
                continue
            top = root / "sys/fs/cgroup" / ("cpu" if controllers else "")
            # Groups above limit too; in a container, the path may be that of the machine, and the quota at the top.
            place = PurePosixPath(own.lstrip("/"))
            limits += [limit for folder in (place, *place.parents) if (limit := _limit(top / folder)) is not None]
    return min(limits)


def _limit(group: Path) -> float | None:
    """The quota of one control group, version 2 or 1, as a share of its period; None without one."""
    with suppress(OSError):
        return _ratio(*(group / "cpu.max").read_text(encoding="utf-8").split())
    with suppress(OSError):
        return _ratio(*((group / f"cpu.cfs_{name}_us").read_text(encoding="utf-8") for name in ("quota", "period")))
    return None


def _ratio(allowed: str, period: str) -> float | None:
    return int(allowed) / int(period) if allowed.strip().isdigit() else None  # max, or -1: no limit


def is_here(environment: Mapping[str, Any]) -> bool:
    """Whether what a result records of its machine is that of this one; what it does not record cannot differ."""
    here = {"processor": processor(), "cores": os.cpu_count()}
    return all(environment.get(key, value) == value for key, value in here.items())
