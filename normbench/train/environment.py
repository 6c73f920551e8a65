"""Versions, code and machine that a result depends on; nothing that identifies a person."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import normbench
from normbench import environ
from normbench.machine import processor

PACKAGES = ("normbench", "torch", "torchvision", "lightning", "torchmetrics", "numpy")
COMPUTING_ROOMS = ("norms", "models", "data", "train", "spec")  # whose code can change a number
HOME = Path(normbench.__file__).resolve().parent


def environment(device: torch.device) -> dict[str, Any]:
    """What a result records, besides `settings.settings_in_force`.

    Args:
        device: The device that computed.
    """
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
        "git_commit": git_commit(),
        "code": code_digest(),
        "device": device_name(device),
        "processor": processor(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "processor_settings": environ.processor_settings(),
        "cores": os.cpu_count(),
        "platform": platform.platform(),
    }


def device_name(device: torch.device) -> str:
    """The GPU's name, or cpu or mps. (Not run on CUDA in the tests.)"""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


@cache
def code_digest(home: Path = HOME) -> str:
    """SHA-256, 16 hex digits, over the source files of the rooms that compute, whatever the line endings."""
    files = [home / "seeds.py", *(path for room in COMPUTING_ROOMS for path in (home / room).rglob("*.py"))]
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(path.relative_to(home).as_posix().encode() + b"\0")
        digest.update(path.read_bytes().replace(b"\r\n", b"\n") + b"\0")
    return digest.hexdigest()[:16]


@cache
def git_commit(root: Path = HOME.parent) -> str | None:
    """The commit of normbench's own checkout, with `+` if files differ from it; None where there is none.

    A repository around it, in which normbench is installed, is not its checkout.

    Args:
        root: The folder that would be the checkout's.
    """
    try:
        if Path(git(root, "rev-parse", "--show-toplevel")).resolve() != root.resolve():
            return None
        git(root, "ls-files", "--error-unmatch", "normbench/__init__.py")
        return git(root, "describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*")
    except (OSError, subprocess.SubprocessError):
        return None


def git(root: Path, *words: str) -> str:
    """What git answers of the repository at `root`; raises subprocess.CalledProcessError where it fails."""
    # GIT_DIR and its like point git at another repository.
    without = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, timeout=10, check=True, env=without)
    return os.fsdecode(done.stdout).strip()  # a path, which need not be UTF-8
