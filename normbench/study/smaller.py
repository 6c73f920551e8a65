"""A smaller or otherwise changed study, to try one before it is run in full."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from normbench.errors import UsageError, unknown
from normbench.spec import RunConfig, TrainerConfig, replace, typed
from normbench.study.compare import Compare
from normbench.study.file import SMALLER, Level, Skip, Study
from normbench.study.rates import RATE


def changed_study(
    study: Study, changes: Mapping[str, Any], seeds: int | None = None, only: Mapping[str, Sequence[str]] | None = None
) -> Study:
    """A smaller or otherwise changed study, under the name `<name>-smoke`, so that it never mixes with the real one.

    Args:
        study: The study as written.
        changes: Dotted keys set in every cell, as on the command line.
        seeds: Take the first so many seeds, or so many from 0.
        only: Axes with the labels to keep, as text.
    """
    where = f"{study.path} --set"
    values = typed(changes, where)
    if "seed" in values:
        raise UsageError("--set seed: the seeds of a study are chosen by --seeds")
    axes = dict(study.axes)
    for axis, wanted in (only or {}).items():
        if axis not in axes:
            raise UsageError(f"--only: {unknown('axis', axis, axes)}")
        labels = {str(level.label): level for level in axes[axis]}
        for label in wanted:
            if label not in labels:
                raise UsageError(f"--only {axis}: {unknown('label', label, labels)}")
        axes[axis] = tuple(level for label, level in labels.items() if label in wanted)
    for axis, levels in axes.items():
        for key in values:
            if any(key in level.changes or (key == RATE and level.rates) for level in levels):
                raise UsageError(f"--set {key}: the axis {axis} of the study sets it: use --only {axis}=...")
    chosen = tuple(range(seeds)) if seeds and seeds > len(study.seeds) else study.seeds[: seeds or None]
    compare = _kept_compare(study.compare, axes)
    skips = tuple(_kept_skip(skip, axes) for skip in study.skips)
    return dataclasses.replace(
        study,
        name=study.name + SMALLER,
        base=replace(study.base, _cadence(study.base, values) | values),
        axes=axes,
        seeds=chosen,
        compare=compare,
        looks=None if seeds else study.looks,
        rates=None if RATE in values else study.rates,
        skips=tuple(skip for skip in skips if all(skip.when.values())),
    )


def _cadence(base: RunConfig, values: Mapping[str, Any]) -> dict[str, Any]:
    """Evaluations and loss points at most as many as by default, where the budget is set: it may be a small one."""
    if not any(key.startswith("budget") for key in values):
        return {}
    names = ("validations", "loss_points")
    return {f"trainer.{n}": min(getattr(base.trainer, n), getattr(TrainerConfig, n)) for n in names}


def _kept_compare(compare: Compare, axes: Mapping[str, tuple[Level, ...]]) -> Compare:
    """The contrasts of the labels that are kept; the first one compares with the first of them if it has to."""
    kept = {axis: [level.label for level in levels] for axis, levels in axes.items()}
    contrasts = []
    for contrast in compare.contrasts:
        stops = tuple(stop for stop in contrast.stops if stop in kept[contrast.along])
        where = {axis: tuple(w for w in wanted if w in kept[axis]) for axis, wanted in (contrast.where or {}).items()}
        lost = contrast.stops and (not stops or contrast.start not in kept[contrast.along])
        if contrast.level in kept[contrast.factor] and not lost and all(where.values()):
            contrasts.append(dataclasses.replace(contrast, stops=stops, where=where))
    baseline = compare.baseline if compare.baseline in kept[compare.factor] else kept[compare.factor][0]
    return dataclasses.replace(compare, baseline=baseline, contrasts=tuple(contrasts))


def _kept_skip(skip: Skip, axes: Mapping[str, tuple[Level, ...]]) -> Skip:
    return Skip({a: [w for w in ws if w in [lv.label for lv in axes[a]]] for a, ws in skip.when.items()}, skip.reason)
