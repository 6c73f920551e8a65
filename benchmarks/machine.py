"""What the figures were measured on, for the head of every file that holds some."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch

from normbench.data.registry import raw_folder
from normbench.machine import cores, processor
from normbench.spec.schema import DataConfig
from normbench.train.environment import git, git_commit

ROOT = Path(__file__).resolve().parent.parent


def described(loads: Sequence[float] | None = None) -> str:
    """One paragraph: processor, cores, memory, libraries, commit, date, and what else the machine does.

    Args:
        loads: Load averages at the start of the measurement; None: now.
    """
    gpu = f", {torch.cuda.get_device_name(0)}" if torch.cuda.is_available() else ""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "torchvision", "lightning"))
    load = ", ".join(f"{value:.2f}" for value in loads or os.getloadavg())
    return (
        f"{processor()}{gpu}, {cores()} cores, {memory:.0f} GB; {platform.platform(terse=True)}, Python "
        f"{platform.python_version()}, {versions}; commit {_commit()}; "
        f"{datetime.now(UTC):%Y-%m-%d}. Load average at the start (1, 5, 15 minutes): {load}."
    )


def _commit() -> str:
    commit = git_commit() or "unknown"
    return commit[:12] + " with changes" * (commit.endswith("+") and changed(ROOT))


def changed(root: Path) -> bool:
    """Whether files of a checkout differ from its commit, other than the pages that `make benchmark` writes."""
    pages = [f":(exclude)benchmarks/*.{suffix}" for suffix in ("md", "txt")]
    try:
        git(root, "diff", "--quiet", "HEAD", "--", ".", *pages)
    except subprocess.CalledProcessError:
        return True
    return False


def data_folder() -> Path:
    """The folder with MNIST/raw. Ends the program where there is none."""
    raw = raw_folder(DataConfig())
    if raw is None:
        raise SystemExit("MNIST is not on this machine: set NORMBENCH_DATA_DIR")
    return raw.parent.parent


def tell(lines: list[str], out: Path | None) -> None:
    """Prints a report, and writes it to `out` if it is given."""
    text = "\n".join(lines) + "\n"
    print(text)
    if out:
        out.write_text(text, encoding="utf-8")
