"""Types of options that several commands take."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Sequence
from pathlib import Path

from normbench import environ
from normbench.errors import UsageError


def folder(text: str) -> Path:
    """A folder of the command line; `~` is home."""
    if (found := environ.expanded(text)) is None:
        raise argparse.ArgumentTypeError(f"{text}: there is no such home folder: write the whole path")
    return found


def new_file(option: str, file: Path) -> Path:
    """The file that an option names to be written.

    Raises:
        UsageError: It is a folder, or its folder is not there: one that was named is not made.
    """
    if file.is_dir():
        raise UsageError(f"{option} {file}: this is a folder: name a file in it")
    if not file.parent.is_dir():
        raise UsageError(f"{option} {file}: no folder {file.parent}: make it first")
    return file


def table_file(given: Path | None, study: str, name: str, suffixes: Sequence[str]) -> Path:
    """Where a command writes a study's table: --to, or `reports/STUDY/NAME`, whose folder is then made at need.

    Args:
        given: What --to says, if anything.
        study: Name of the study.
        name: Of the file that is written where --to is not given.
        suffixes: What its name may end in.

    Raises:
        UsageError: Another ending, or what `new_file` refuses.
    """
    target = given or Path("reports") / study / name
    if target.suffix not in suffixes:
        raise UsageError(f"--to {target}: let the name end in {' or '.join(suffixes)}")
    return target if given is None else new_file("--to", target)


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
