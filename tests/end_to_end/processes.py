"""Commands as processes of their own, as a shell starts them."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests import conftest

SMALL = ["--data.name", "mnist_5k", "--data.batch_size", "32", "--model.name", "mlp", "--trainer.accelerator", "cpu"]

STUDY = """
name: {name}
question: Which rate?
base:
  data: {{name: mnist_5k, batch_size: 32}}
  model: {{name: mlp, norm: batch}}
  budget: {{steps: {steps}}}
  trainer: {{accelerator: cpu, devices: {devices}}}
grid: {{optimizer.lr: [0.01, 0.02]}}
seeds: 1
compare: {{factor: optimizer.lr, baseline: 0.01}}
"""


def write_study(folder: Path, name: str, steps: int, devices: int = 1) -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(STUDY.format(name=name, steps=steps, devices=devices))
    return path


def start(*words: object, **environment: str) -> subprocess.Popen[str]:
    """`normbench WORDS`: see `start_words`."""
    return start_words([sys.executable, "-m", "normbench", *map(str, words)], **environment)


def start_words(words: list[str], **environment: str) -> subprocess.Popen[str]:
    """A process with these variables besides, W&B off: see `conftest.start_words`."""
    return conftest.start_words(words, env={**os.environ, "NORMBENCH_WANDB": "off", **environment})


def end(process: subprocess.Popen[str], seconds: float = 120) -> tuple[int, str, str]:
    """Status, stdout and stderr; whatever is left of the process group is ended."""
    try:
        out, err = process.communicate(timeout=seconds)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, out, err


def until(what: Callable[[], object], process: subprocess.Popen[str], seconds: float = 90) -> None:
    """Waits for `what`; fails where the process has ended before, or time has run out."""
    deadline = time.monotonic() + seconds
    while not what():
        assert process.poll() is None, f"ended with {process.returncode}: {process.communicate()}"
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.02)


def seen_live(study: Path, runs: Path, text: str, seconds: float = 120) -> str:
    """What `status --live` has shown on a terminal when `text` is there; Ctrl-C then ends it with status 0."""
    ours, theirs = pty.openpty()
    words = [sys.executable, "-m", "normbench", "status", str(study), "--runs", str(runs), "--live"]
    process = conftest.start_words(
        words, stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm", "COLUMNS": "160"}
    )
    os.close(theirs)
    shown, deadline = "", time.monotonic() + seconds
    try:
        while text not in shown:
            assert time.monotonic() < deadline, shown
            if select.select([ours], [], [], 1)[0]:
                shown += os.read(ours, 65_536).decode(errors="replace")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0, shown
    finally:
        process.kill()
        os.close(ours)
    return shown


def results(runs: Path) -> dict[str, dict[str, Any]]:
    return {path.parent.name: json.loads(path.read_text()) for path in runs.glob("*/result.json")}


def metrics(runs: Path) -> dict[str, Any]:
    return {run_id: result["metrics"] for run_id, result in results(runs).items()}


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])
