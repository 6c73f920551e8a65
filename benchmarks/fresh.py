"""A Python command in a fresh process: how long it takes, and how much memory."""

from __future__ import annotations

import subprocess
import sys
from typing import NamedTuple

# The system never says that a process took less than the one that started it had: a small one starts it.
STARTER = """
import resource, subprocess, sys, time
started = time.perf_counter()
status = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
print(time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(status)
"""


class Measured(NamedTuple):
    """Wall time (s) and peak resident memory (GB) of a process."""

    seconds: float
    gigabytes: float


def measure(*command: object) -> Measured:
    """Runs a Python command line in a fresh process; ends the program where it fails."""
    words = [sys.executable, "-c", STARTER, sys.executable, *map(str, command)]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{command} failed")
    seconds, most = map(float, done.stdout.split())
    return Measured(seconds, most / (1024**2 if sys.platform == "linux" else 1024**3))
