"""How long one waits before anything is trained, and what a further worker takes of the memory.

    python benchmarks/startup.py [--rounds 5] [--out FILE]

About two minutes. Linux alone tells the memory (PSS: what processes share is divided among them).
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from machine import data_folder, described, tell
from turns import environment

from normbench.spec import yaml_text

LONGEST = 120.0  # seconds until the first step
WATCHED = 10.0  # seconds for which memory is watched, evaluations among them
NORMBENCH = [sys.executable, "-m", "normbench"]


def study(folder: Path, **changes: Any) -> Path:
    """A study of the digit CNN, with other values at some of its top keys."""
    tree: dict[str, Any] = {
        "name": "waiting",
        "question": "How long does one wait?",
        "base": {
            "data": {"name": "mnist", "allow_embedded": False},
            # A curve point at every step shows the first; evaluations are part of the memory that a run needs.
            "budget": {"samples": 64_000},
            "trainer": {"validations": 40, "loss_points": 1000},
        },
        "grid": {"model.norm": ["none", "batch", "layer", "instance", "group"]},
        "seeds": 1,
        "compare": {"factor": "model.norm", "baseline": "batch"},
    }
    path = folder / "waiting.yaml"
    path.write_text(yaml_text({**tree, **changes}), encoding="utf-8")
    return path


def wall(words: list[str], folder: Path, data: Path) -> float:
    """Seconds that a command of normbench takes."""
    started = time.perf_counter()
    subprocess.run([*NORMBENCH, *words], env=environment(data), cwd=folder, check=True, capture_output=True)
    return time.perf_counter() - started


def while_training(workers: int, data: Path, look: Callable[[subprocess.Popen[bytes], float], float]) -> float:
    """What `look` finds of `normbench run` (its process, and the time at which it was started), once all train."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        study(folder)
        words = [*NORMBENCH, "run", "waiting.yaml", "--workers", str(workers)]
        started = time.perf_counter()
        process = subprocess.Popen(
            words, env=environment(data), cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            while sum("train" in path.read_text() for path in folder.glob("runs/*/metrics.csv")) < workers:
                if process.poll() is not None or time.perf_counter() - started > LONGEST:
                    raise SystemExit(f"no step within {LONGEST:g} s: {' '.join(words)}")
                time.sleep(0.01)
            return look(process, started)
        finally:
            process.terminate()  # a shell starts what runs in the background deaf to SIGINT
            process.wait(LONGEST)


def first_step(process: subprocess.Popen[bytes], started: float) -> float:
    """Seconds since the start."""
    return time.perf_counter() - started


def memory(process: subprocess.Popen[bytes], started: float) -> float:
    """The most memory of the command and all its processes together, in MB of PSS, over some seconds."""
    until, most = time.perf_counter() + WATCHED, 0.0
    while time.perf_counter() < until and process.poll() is None:
        whole = psutil.Process(process.pid)
        found = 0
        for one in (whole, *whole.children(recursive=True)):
            try:
                found += one.memory_full_info().pss
            except psutil.NoSuchProcess:
                continue
        most = max(most, found / 1e6)
        time.sleep(0.2)
    return most


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="file to write, besides printing")
    options = parser.parse_args()
    data, head = data_folder(), described()
    found: dict[str, list[float]] = {"help": [], "plan": [], "step": [], "one": [], "two": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        study(folder, grid={"model.norm": ["none", "batch", "layer", "instance", "group"]}, seeds=200)
        for _ in range(options.rounds):
            found["help"].append(wall(["--help"], folder, data))
            found["plan"].append(wall(["plan", "waiting.yaml"], folder, data))
            found["step"].append(while_training(1, data, first_step))
    for _ in range(min(2, options.rounds)):
        found["one"].append(while_training(1, data, memory))
        found["two"].append(while_training(2, data, memory))
    extra = [two - one for one, two in zip(found["one"], found["two"], strict=True)]
    rows = [
        ("`normbench --help`", found["help"], "s", "< 0.5"),
        ("`normbench plan` of 1,000 runs", found["plan"], "s", "< 1"),
        ("`normbench run` to the first training step", found["step"], "s", "< 8"),
        ("memory of `normbench run` with one worker", found["one"], "MB", ""),
        ("memory of a second worker, data and libraries shared", extra, "MB", "< 600"),
    ]
    lines = ["# Waiting, and memory\n", "`python benchmarks/startup.py`\n", head, "", "| what | median | all | goal |"]
    lines.append("|---|---:|---|---|")
    for what, values, unit, goal in rows:
        digits = 2 if unit == "s" else 0
        each = ", ".join(f"{value:.{digits}f}" for value in values)
        lines.append(f"| {what} | {statistics.median(values):.{digits}f} {unit} | {each} | {goal} |")
    lines.append("\nMemory is PSS of all processes of the command, the most within 10 s of training and evaluation.")
    tell(lines, options.out)


if __name__ == "__main__":
    main()
