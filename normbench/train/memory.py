"""Memory that a training frees is kept by its process: the next step asks for the same again."""

from __future__ import annotations

import ctypes
import sys
from functools import cache

# Parameters of glibc's mallopt (malloc.h).
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


@cache
def keep_freed_memory() -> bool:
    """Tells glibc not to give freed memory back to the system; returns whether that could be done.

    Otherwise every activation is mapped, faulted in page by page and unmapped anew in each step: on a two-core
    server CPU the digit CNN with batch norm trained 30 to 40 % more images a second of processor time at batch 32
    and 25 % more at 128 with this, and system time fell from 1 s in 4 to nothing. No number changes. It holds for the
    rest of the process.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    return bool(mallopt(M_TRIM_THRESHOLD, 2**31 - 1) and mallopt(M_MMAP_MAX, 0))
