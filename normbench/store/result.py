"""result.json: what it must hold to count, and how values become plain JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any

from normbench.errors import DataError, NormbenchError

LAYOUT = 2  # of a run folder; a result of another layout is not read as if it were of this one

Result = dict[str, Any]
# The id of a run, told from its configuration as a nested mapping.
RunIdOf = Callable[[Mapping[str, Any]], str]

# What tables, reports and estimates read of every result, and its type.
REQUIRED: Mapping[str, type | tuple[type, ...]] = {
    "config": dict,
    "dataset": dict,
    "metrics": dict,
    "environment": dict,
    "steps": int,
    "samples": int,
    "lr": (int, float),
    "parameters": int,
    "devices": int,
    "virtual_devices": int,
    "device_batch": int,
    "seconds": (int, float),
    "wall_seconds": (int, float),
}
INSIDE: tuple[tuple[str, ...], ...] = (
    ("dataset", "name"),
    ("config", "seed"),
    ("config", "model", "name"),
    ("config", "model", "norm"),
    ("config", "data", "batch_size"),
)
# Numbers that may be missing or null: not measured, or not met.
OPTIONAL = ("samples_per_second", "diverged_at_step", "images_per_statistic", "values_per_statistic")


def plain(value: Any) -> Any:
    """`value` as JSON knows it: NumPy's numbers and arrays as Python's, paths as text, NaN and infinity as None.

    Example:
        >>> import numpy as np
        >>> plain({"accuracy": np.float32(0.5), "loss": float("nan"), "shape": (np.int64(2), 3)})
        {'accuracy': 0.5, 'loss': None, 'shape': [2, 3]}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        value = sorted(value)
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):  # NumPy's scalars and arrays, tensors
        return plain(value.tolist())
    return _plain_scalar(value)


def _plain_scalar(value: Any) -> str | bool | int | float | None:
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value) if math.isfinite(value) else None
    return None if value != value else str(value)  # noqa: PLR0124  (pandas' NaT differs from itself)


def json_text(value: Any) -> str:
    """`value` as indented JSON that every parser reads: see `plain`."""
    return json.dumps(plain(value), indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def parsed(text: str) -> Result | None:
    """The JSON object that `text` holds; None for anything else."""
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return tree if isinstance(tree, dict) else None


def problem(result: Result | None, run_id: str, run_id_of: RunIdOf | None = None) -> str | None:
    """Why a result cannot count for a run, in a few words that follow the name of the file; None if it can.

    Args:
        result: What the file holds; None: no whole JSON object.
        run_id: Name of the run's folder.
        run_id_of: Tells the id that the result's configuration has; None leaves it unchecked. Where it raises for a
            configuration with plug-ins, or for its images, the id cannot be told here (a file is not on this machine):
            the name decides.
    """
    if result is None:
        return "is not a whole JSON object"
    if result.get("layout") != LAYOUT:
        return f"has layout {result.get('layout', 'unknown')}, this version reads {LAYOUT}"
    if "run_id" not in result:
        return "lacks run_id"
    if result["run_id"] != run_id:
        return f"is of run {str(result['run_id'])[:40]}, not of {run_id}"
    return _missing(result) or _another_id(result["config"], run_id, run_id_of)


def _missing(result: Result) -> str | None:
    for key, kind in REQUIRED.items():
        if key not in result:
            return f"lacks {key}"
        if not isinstance(result[key], kind) or isinstance(result[key], bool):
            return f"has no usable {key}"
    for path in INSIDE:
        place: Any = result
        for key in path:
            place = place.get(key) if isinstance(place, dict) else None
        if place is None:
            return f"lacks {'.'.join(path)}"
    numbers = [result[key] for key in OPTIONAL if key in result] + list(result["metrics"].values())
    if any(isinstance(value, bool) or not isinstance(value, int | float | None) for value in numbers):
        return "has no usable metrics"
    return None


def _another_id(config: Mapping[str, Any], run_id: str, run_id_of: RunIdOf | None) -> str | None:
    if run_id_of is None:
        return None
    try:
        found = run_id_of(config)
    except DataError:
        return None
    except (NormbenchError, TypeError, ValueError, KeyError, AttributeError):
        # A plug-in may not be on this machine, and then the name decides.
        return None if config.get("plugins") else "has a configuration that cannot be read"
    return None if found == run_id else f"has a configuration of run {found}"
