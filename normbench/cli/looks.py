"""The runs that a study asks for now: all, or with planned looks those of the next one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from normbench.report.looks import LookProgress
    from normbench.store import Store
    from normbench.study import Plan, PlannedRun


@dataclass(frozen=True)
class Ask:
    """Runs to train now.

    Args:
        runs: They; empty where nothing is left, or the budget does not hold the next look.
        count: How many runs are asked for, finished ones included.
        told: What is said before their number, or instead of it where there is none.
    """

    runs: list[PlannedRun]
    count: int
    told: str


def asked(plan: Plan, store: Store) -> Ask:
    """The runs to train now, worked out from what is stored."""
    from normbench.launch.progress import duration
    from normbench.report.collection import evidence_of
    from normbench.study import iter_pending, seconds_left

    looks = plan.study.looks
    if looks is None:
        left = list(iter_pending(plan, store.finished(plan.ids)))
        return Ask(left, len(plan.runs), "" if left else f"all {len(plan.runs)} runs are done")
    evidence = evidence_of(plan, store)
    now = evidence.looks
    assert now is not None
    said = _said(now)
    if not now.left:
        state = f"{now.open} contrasts are open after it" if now.open else "every contrast is decided"
        return Ask([], len(now.asked), f"{said}: {state}; all {len(now.asked)} runs that it asks for are done")
    if looks.budget is not None and now.done:
        walls = {str(i): float(s) for i, s in zip(evidence.runs["run_id"], evidence.runs["wall_seconds"], strict=True)}
        spent = sum(walls.values())
        needed, _ = seconds_left(now.asked, {run_id: partial(float, s) for run_id, s in walls.items()})
        if spent + needed > looks.budget:
            return Ask(
                [],
                len(now.asked),
                f"{said}; interim: {now.open} contrasts are open, and the next look needs {duration(needed)} of "
                f"training beside the {duration(spent)} that were used: more than seeds.budget, "
                f"{duration(looks.budget)}",
            )
    return Ask(now.left, len(now.asked), f"look {now.done + 1} of {now.looks}: ")


def now_asked(plan: Plan, store: Store) -> tuple[list[PlannedRun], str]:
    """The runs that are asked for so far, finished or not, and how far the looks are (empty without looks)."""
    from normbench.report.collection import evidence_of

    if plan.study.looks is None:
        return plan.runs, ""
    now = evidence_of(plan, store).looks
    assert now is not None
    return now.asked, f"{_said(now)}; "


def _said(now: LookProgress) -> str:
    return f"{now.done} of {now.looks} looks made"


def look_lines(plan: Plan, store: Store) -> list[str]:
    """The planned looks, the shortest and the longest case; empty for a study without."""
    from normbench.launch.progress import duration
    from normbench.study import seconds_left

    looks = plan.study.looks
    if looks is None:
        return []
    lines = []
    for look, (count, share) in enumerate(zip(looks.seeds, looks.spend, strict=True), 1):
        seeds = set(plan.study.seeds[:count])
        runs = [run for run in plan.runs if run.seed in seeds]
        which = "all cells" if look == 1 or looks.stop == "never" else "cells whose contrasts are open"
        work, _ = seconds_left(runs, {})
        lines.append(
            f"look {look}: {count} seeds of {which}, at {share:.0%} of the level; at most {len(runs)} runs, "
            f"{duration(work)} of training"
        )
    if looks.budget is not None:
        lines.append(
            f"a look after the first that would take the training beyond {duration(looks.budget)} in all is not begun"
        )
    return [*lines, f"{now_asked(plan, store)[1].rstrip('; ')}; above is the longest case"]
