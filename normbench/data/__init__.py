"""The images: a registry of data sets, finding and checking their files, splitting and batching them.

Importing this registers the built-in data sets, without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from normbench.data import builtin, cifar, emnist, folder  # noqa: F401  (importing them registers their data sets)
from normbench.data.images import Images
from normbench.data.registry import DatasetFacts, dataset_facts, read, register_dataset
from normbench.data.source import at_hand, available, ensure, with_data_at_hand

__all__ = [
    "DatasetFacts",
    "Images",
    "MNISTDataModule",
    "at_hand",
    "available",
    "dataset_facts",
    "ensure",
    "read",
    "register_dataset",
    "with_data_at_hand",
]


def __getattr__(name: str) -> Any:
    if name == "MNISTDataModule":
        return import_module("normbench.data.module").MNISTDataModule
    raise AttributeError(f"module 'normbench.data' has no attribute '{name}'")
