"""Contenders that take turns (A B A B), each time in fresh processes that warm up first and then start together."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parent.parent
CONTENDERS = ROOT / "benchmarks" / "contenders"
# Each contender chooses its threads and its memory itself, as on a machine where nothing is set.
UNSET = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "LD_PRELOAD", "GLIBC_TUNABLES")
UNSET += tuple(f"MALLOC_{name}_" for name in ("TRIM_THRESHOLD", "MMAP_THRESHOLD", "MMAP_MAX", "TOP_PAD"))
UNSET += ("MALLOC_ARENA_MAX",)
UNSET += ("PYTHONDONTWRITEBYTECODE",)  # with it every process compiles all modules anew

ENDING_SECONDS = 60.0


@dataclass(frozen=True)
class Contender:
    """A script in contenders/, in so many processes at once.

    Args:
        name: What it is called.
        script: Its file, without .py.
        processes: How many run at once.
        extra: What it is asked besides the cell.
    """

    name: str
    script: str
    processes: int = 1
    extra: Mapping[str, Any] = field(default_factory=dict)


def environment(data: Path) -> dict[str, str]:
    """What a contender sees of this process's environment."""
    kept = {name: value for name, value in os.environ.items() if name not in UNSET}
    return {**kept, "PYTHONPATH": str(ROOT), "NORMBENCH_DATA_DIR": str(data), "NORMBENCH_WANDB": "off"}


def command(contender: Contender, ask: Mapping[str, Any], data: Path) -> list[str]:
    """The command line of one process of a contender."""
    text = json.dumps({**ask, **contender.extra, "data": str(data)})
    return [sys.executable, str(CONTENDERS / f"{contender.script}.py"), text]


def rate(contender: Contender, ask: Mapping[str, Any], data: Path) -> float:
    """Images a second of all processes of a contender together, in one turn."""
    words, env = command(contender, ask, data), environment(data)
    processes: list[subprocess.Popen[str]] = []
    # What they say besides goes into a file: a pipe that nobody empties would stop them.
    with tempfile.TemporaryFile(mode="w+", encoding="utf-8", errors="replace") as said:
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": said}
        try:
            processes += [subprocess.Popen(words, env=env, text=True, **pipes) for _ in range(contender.processes)]
            for process in processes:
                _until(process, said, lambda line: line == "ready")
            for process in processes:
                assert process.stdin is not None
                process.stdin.write("go\n")
                process.stdin.flush()
            found = [json.loads(_until(process, said, lambda line: line.startswith("{"))) for process in processes]
            for process in processes:  # its loader workers end with it
                process.communicate(timeout=ENDING_SECONDS)
            return sum(answer["rate"] for answer in found)
        finally:
            for process in processes:
                if process.poll() is None:
                    process.kill()


def _until(process: subprocess.Popen[str], said: IO[str], wanted: Callable[[str], bool]) -> str:
    """The first line of a process that is wanted; where it ends before, the program ends with its standard error."""
    assert process.stdout is not None
    for line in process.stdout:
        if wanted(line.strip()):
            return line.strip()
    said.seek(0)
    raise SystemExit(f"{process.args}\nended early:\n{said.read()[-3000:]}")


def turns(contenders: Iterable[Contender], ask: Mapping[str, Any], data: Path, rounds: int) -> dict[str, list[float]]:
    """Rates of every contender, one a round."""
    found: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for _ in range(rounds):
        for contender in contenders:
            found[contender.name].append(rate(contender, ask, data))
    return found
