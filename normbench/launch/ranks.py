"""One run on as many processes as it asks for: this one, or a fresh one for each device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from normbench.config import RunConfig
from normbench.train import Progress, train


def execute(config: RunConfig, folder: Path, progress: Progress | None = None) -> dict[str, Any]:
    """Trains a run to its result."""
    return train(config, folder, progress)
