"""What is imported before a training, without what no training uses."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from typing import Any

# For plots, and for metrics of sounds and of pictures.
UNUSED = ("matplotlib", "scipy", "torchvision")


def import_torchmetrics() -> None:
    """Imports torchmetrics as it is where what only its plots and its other metrics need is not installed.

    Importing that takes a quarter of the time until a process trains, and a seventh of its memory. Where torchmetrics
    has been imported before, by a plug-in for example, it stays whole.
    """
    if "torchmetrics" in sys.modules:
        return
    hidden = set(UNUSED)
    version, find_spec = importlib.metadata.version, importlib.util.find_spec

    def version_unless_hidden(distribution_name: str) -> str:
        if distribution_name in hidden:
            raise importlib.metadata.PackageNotFoundError(distribution_name)
        return version(distribution_name)

    def spec_unless_hidden(name: str, package: str | None = None) -> Any:
        return None if name.partition(".")[0] in hidden else find_spec(name, package)

    importlib.metadata.version, importlib.util.find_spec = version_unless_hidden, spec_unless_hidden
    try:
        importlib.import_module("torchmetrics")
    finally:
        hidden.clear()  # whoever has taken hold of the two by now goes on with them
        importlib.metadata.version, importlib.util.find_spec = version, find_spec
    from lightning_utilities.core import imports

    for remembers in (imports.package_available, imports.module_available):
        remembers.cache_clear()  # Lightning asks them, too
