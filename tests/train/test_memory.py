"""glibc is told to keep what a training frees."""

import ctypes
import platform
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from normbench.train import memory

from .runs import tiny, trained

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")

# Prints how many of 64 MB that were used and freed the process still holds.
HELD = """
import sys
from pathlib import Path
from normbench.train.memory import keep_freed_memory

if sys.argv[1] == "keep":
    assert keep_freed_memory() is True


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


before = resident()
used = b"x" * 2**26
del used
print(round(resident() - before))
"""


def held(how: str) -> int:
    found = subprocess.run([sys.executable, "-c", HELD, how], check=True, capture_output=True, text=True, timeout=60)
    return int(found.stdout)


@glibc
def test_freed_memory_stays_with_the_process() -> None:
    assert held("keep") >= 60
    assert held("leave") < 10


@glibc
def test_glibc_does_what_it_is_told() -> None:
    assert memory.keep_freed_memory.__wrapped__() is True


def test_thresholds_are_those_of_the_header(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, int]] = []

    def mallopt(parameter: int, value: int) -> int:
        told.append((parameter, value))
        return 1

    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace(mallopt=mallopt))
    monkeypatch.setattr(sys, "platform", "linux")
    assert memory.keep_freed_memory.__wrapped__() is True
    assert told == [(-1, 2**31 - 1), (-4, 0)]  # M_TRIM_THRESHOLD, M_MMAP_MAX


def test_elsewhere_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace())  # musl
    assert memory.keep_freed_memory.__wrapped__() is False
    monkeypatch.setattr(sys, "platform", "darwin")
    assert memory.keep_freed_memory.__wrapped__() is False


def test_every_training_asks_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In whatever process: a worker, a rank, or a caller's own."""
    asked: list[bool] = []
    monkeypatch.setattr("normbench.train.run.keep_freed_memory", lambda: asked.append(True))
    trained(tiny(**{"budget.steps": 1, "trainer.validations": 0, "trainer.loss_points": 1}), tmp_path)
    assert asked == [True]
