"""The images: finding and checking the files (`source`), splitting and batching them (`module`)."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["MNISTDataModule"]


def __getattr__(name: str) -> Any:
    if name == "MNISTDataModule":
        return import_module("normbench.data.module").MNISTDataModule
    raise AttributeError(f"module 'normbench.data' has no attribute '{name}'")
