"""Packages that one launcher alone needs, imported when it launches."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from normbench.errors import UsageError


def needed(package: str, launcher: str) -> Any:
    """The package. Raises UsageError with the line that installs it.

    Example:
        >>> needed("no_such_engine", "ray")
        Traceback (most recent call last):
        normbench.errors.UsageError: launcher ray: no_such_engine is not installed: pip install 'normbench[ray]'
    """
    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise UsageError(
            f"launcher {launcher}: {package} is not installed: pip install 'normbench[{launcher}]'"
        ) from None
