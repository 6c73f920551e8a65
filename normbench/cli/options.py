"""Types of options that several commands take."""

from __future__ import annotations

import argparse
import math
import re
from pathlib import Path


def folder(text: str) -> Path:
    """A folder of the command line; `~` is home."""
    return Path(text).expanduser()


def positive(text: str) -> int:
    """A whole number from 1 of the command line."""
    value = int(text) if text.isdigit() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from 1")
    return value


def size(text: str) -> int:
    """Bytes as a command line writes them: 8GB (1,000 MB) or 8GiB (1,024 MiB)."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMGT])(i?)B", text, re.IGNORECASE)
    found = int(float(match[1]) * (1024 if match[3] else 1000) ** ("KMGT".index(match[2].upper()) + 1)) if match else 0
    if found < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is no amount of memory, for example 8GB or 512MiB")
    return found


def number(count: int, noun: str) -> str:
    """`3 runs`, `1 run`."""
    return f"{count} {noun}{'s' * (count != 1)}"


def seconds(text: str) -> float:
    """A positive number of seconds of the command line."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of seconds above 0")
    return value
