"""All processes of a study killed at once, as when a machine goes down, at twenty random moments."""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from .processes import end, metrics, results, start, write_study

pytestmark = pytest.mark.slow

MOMENTS = 20


def test_all_killed_at_twenty_random_moments_loses_nothing(tmp_path: Path) -> None:
    study, runs, chance = write_study(tmp_path, "reboot", 3_000), tmp_path / "runs", random.Random(0)
    study.write_text(study.read_text().replace("accelerator: cpu", "accelerator: cpu, checkpoints: 150"))
    kept: dict[Path, bytes] = {}
    killed_in_training = 0
    for moment in range(MOMENTS):
        process = start("run", study, "--workers", 2, "--runs", runs)
        if moment % 4:  # in mid-run; every fourth while all is being started
            before = state(runs)
            while state(runs) == before and process.poll() is None:
                time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.5))
        killed_in_training += process.poll() is None and bool(moment % 4)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        for path in runs.glob("*/result.json"):
            assert kept.setdefault(path, path.read_bytes()) == path.read_bytes(), "a result is written once"
        results(runs)  # each is whole
    assert killed_in_training >= 5, "too quick for this machine: take more steps"
    status, _, err = end(start("run", study, "--workers", 2, "--runs", runs))
    assert status == 0, err
    assert end(start("run", study, "--workers", 2, "--runs", tmp_path / "whole"))[0] == 0
    assert len(metrics(runs)) == 2
    assert metrics(runs) == metrics(tmp_path / "whole"), "to the last bit"
    for name in ("metrics.csv", "config.yaml"):
        assert lasting(runs, name) == lasting(tmp_path / "whole", name)
    assert not [path for path in runs.glob("*/*") if path.suffix in {".tmp", ".new", ".ckpt"}]


def state(runs: Path) -> list[Any]:
    """What changes with every checkpoint: when a run has gone on."""
    with suppress(FileNotFoundError):
        return sorted((path, path.stat().st_mtime_ns) for path in runs.glob("*/checkpoint.ckpt"))
    return []


def lasting(runs: Path, name: str) -> dict[str, list[str]]:
    """The lines of a file of each run, without its column of seconds."""
    found = {}
    for path in runs.glob(f"*/{name}"):
        lines = [line.split(",") for line in path.read_text().splitlines()]
        skipped = lines[0].index("seconds") if "seconds" in lines[0] else -1
        found[path.parent.name] = [",".join(c for i, c in enumerate(line) if i != skipped) for line in lines]
    return found
