"""Commands as processes of their own, as a shell starts them."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import termios
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


def until(what: Callable[[], object], process: subprocess.Popen[str] | None = None, seconds: float = 90) -> None:
    """Waits for `what`; fails where the process has ended before, or time has run out."""
    deadline = time.monotonic() + seconds
    while not what():
        ended = process is not None and process.poll() is not None
        assert not ended, f"ended with {process.returncode}: {process.communicate()}"
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.02)


def on_terminal(*words: object) -> tuple[subprocess.Popen[str], int]:
    """`normbench WORDS` on a terminal of its own, and our end of that; to close it is to close a window."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "NORMBENCH_WANDB": "off", "TERM": "xterm", "COLUMNS": "160"}
    process = conftest.start_words(
        [sys.executable, "-m", "normbench", *map(str, words)],
        **{"stdin": theirs, "stdout": theirs, "stderr": theirs, "env": environment},
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(theirs)
    return process, ours


def shown_on(terminal: int) -> str:
    """What has been written there since; waits for a second."""
    return os.read(terminal, 65_536).decode(errors="replace") if select.select([terminal], [], [], 1)[0] else ""


def seen_live(study: Path, runs: Path, text: str, seconds: float = 120) -> str:
    """What `status --live` has shown on a terminal when `text` is there; Ctrl-C then ends it with status 130."""
    process, ours = on_terminal("status", study, "--runs", runs, "--live")
    shown, deadline = "", time.monotonic() + seconds
    try:
        while text not in shown:
            assert time.monotonic() < deadline, shown
            shown += shown_on(ours)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130, shown
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
