"""Offline folders of a run, `wandb/offline-run-*`, and what becomes of them when the run is pushed.

Rows that are synchronized on top of pushed ones would be there twice, so a push marks what it has sent as synchronized,
as wandb does itself. Histograms and pictures are in the offline folder alone: a folder that has some is synchronized
before the rest is pushed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from normbench.errors import NormbenchError
from normbench.tracking.client import HEARD, without_key

SYNC_SECONDS = 600
MARK = ".wandb.synced"


def unsent(folder: Path) -> list[Path]:
    """The offline logs of a run folder that nobody has sent yet."""
    logs = sorted(folder.glob("wandb/offline-run-*/run-*.wandb"))
    return [log for log in logs if not log.with_suffix(MARK).exists()]


def with_media(log: Path, run_id: str) -> bool:
    """Whether an offline log is this run's, under its id of today, and holds more than rows."""
    media = (log.parent / "files" / "media").is_dir() or (log.parent / "files" / "artifact").is_dir()
    # As a value's type: the configuration has a key `histograms`, in every run.
    return log.name == f"run-{run_id}.wandb" and (media or b'histogram"' in log.read_bytes())


def synchronize(log: Path, project: str, entity: str | None) -> None:
    """`wandb sync` of one offline log. Raises NormbenchError where it fails."""
    folder = log.parent.absolute()  # it runs there, where no file of the user's is taken for a module
    command = [sys.executable, "-m", "wandb", "sync", str(folder), "--project", project]
    command += ["--entity", entity] if entity else []
    heard = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_") or name in HEARD}
    try:
        done = subprocess.run(command, env=heard, capture_output=True, timeout=SYNC_SECONDS, check=False, cwd=folder)
    except subprocess.TimeoutExpired:
        raise NormbenchError(f"wandb: sync of {log.parent} takes more than {SYNC_SECONDS} s") from None
    if done.returncode != 0:
        last = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()[-1:]
        raise NormbenchError(without_key(f"wandb: sync of {log.parent} failed: {' '.join(last)}"))


def mark(log: Path) -> None:
    """Notes, as wandb does, that a log has been sent."""
    log.with_suffix(MARK).touch()


def known(wandb: Any, run_id: str, project: str, entity: str | None) -> bool:
    """Whether W&B has a run."""
    api = wandb.Api()
    try:
        api.run(f"{entity or api.default_entity}/{project}/{run_id}")
    except (wandb.Error, ValueError):  # "could not find run"
        return False
    return True
