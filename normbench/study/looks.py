"""Seeds of a study: how many, or planned looks at growing numbers of them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

from normbench.errors import UsageError, unknown
from normbench.spec.schema import SEED_LIMIT

Stop = Literal["decided", "never"]
KEYS = ("looks", "spend", "stop", "budget")
MOST = 100_000
_UNITS = {"h": 3600, "m": 60, "s": 1}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?[hms])+")


@dataclass(frozen=True)
class LookPlan:
    """Planned looks; their statistics are `normbench.stats.Looks`.

    Args:
        seeds: Number of seeds at each look, growing.
        spend: Share of the level that each look may spend; they sum to 1.
        stop: "decided": a cell whose contrasts are decided trains no further seeds; "never": all train to the last.
        budget: Seconds of training, summed over the runs: a look that would exceed it is not begun; None: no limit.
    """

    seeds: tuple[int, ...]
    spend: tuple[float, ...]
    stop: Stop = "decided"
    budget: float | None = None


def seeds_of(given: Any, path: Path) -> tuple[tuple[int, ...], LookPlan | None]:
    """The seeds of a study, a list of them or how many from 0, and its looks.

    Args:
        given: As written.
        path: The study's file, which errors name.
    """
    if isinstance(given, dict):
        looks = _looks(given, path)
        return tuple(range(looks.seeds[-1])), looks
    if isinstance(given, int) and not isinstance(given, bool) and 0 < given <= MOST:
        return tuple(range(given)), None
    if not isinstance(given, list) or not given:
        raise UsageError(f"{path}: seeds is a list of whole numbers from 0, or how many: {given!r}")
    for seed in given:
        if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed <= SEED_LIMIT:
            raise UsageError(f"{path}: seeds: {seed!r} is not a whole number from 0 to {SEED_LIMIT}")
    if len(set(given)) != len(given):
        raise UsageError(f"{path}: a seed is given twice: each counts once")
    return tuple(given), None


def _looks(tree: dict[str, Any], path: Path) -> LookPlan:
    for key in tree:
        if key not in KEYS:
            raise UsageError(f"{path}: {unknown('key of seeds', key, KEYS)}")
    looks, spend = tree.get("looks"), tree.get("spend")
    if not isinstance(looks, list) or not looks or not all(_whole(count) for count in looks):
        raise UsageError(f"{path}: seeds.looks is a list of growing numbers of seeds such as [3, 5, 10], not {looks!r}")
    if looks[0] < 2 or sorted(set(looks)) != looks or looks[-1] > MOST:
        raise UsageError(f"{path}: seeds.looks={looks}: give growing numbers of seeds from 2 to {MOST}")
    if not isinstance(spend, list) or not all(isinstance(s, int | float) and not isinstance(s, bool) for s in spend):
        raise UsageError(f"{path}: seeds.spend is a list of shares of the level such as [.2, .3, .5], not {spend!r}")
    if len(spend) != len(looks):
        raise UsageError(f"{path}: seeds.spend has {len(spend)} shares for {len(looks)} looks: give each look its own")
    if not all(share > 0 for share in spend) or not math.isclose(sum(spend), 1, abs_tol=1e-9):
        raise UsageError(f"{path}: seeds.spend={spend}: give shares above 0 that sum to 1, not {sum(spend):g}")
    stop = tree.get("stop", "decided")
    if stop not in get_args(Stop):
        raise UsageError(f"{path}: seeds.stop: {unknown('way to stop', stop, get_args(Stop))}")
    budget = None if tree.get("budget") is None else _seconds(tree["budget"], path)
    return LookPlan(tuple(looks), tuple(map(float, spend)), cast("Stop", stop), budget)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _seconds(given: Any, path: Path) -> float:
    try:
        return seconds_of(given)
    except ValueError as error:
        raise UsageError(f"{path}: seeds.budget={given}: {error}") from None


def seconds_of(given: Any) -> float:
    """Seconds of a duration: `30m`, `1h30m`, `90s`. Raises ValueError, which says what to give."""
    if not isinstance(given, str) or not _DURATION.fullmatch(given):
        raise ValueError("give a time such as 30m, 1h30m or 90s")
    seconds = sum(float(part[:-1]) * _UNITS[part[-1]] for part in re.findall(r"[\d.]+[hms]", given))
    if not seconds > 0:
        raise ValueError("give a time above 0")
    return seconds
