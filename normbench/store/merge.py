"""Run folders of several machines joined in one store: what is there is compared, what is not is copied."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from normbench.errors import RunFolderError
from normbench.store.files import temporary, unwritable
from normbench.store.folder import CHECKPOINT, ERROR, LOCK, RESULT, RUN_ID, RunFolder
from normbench.store.store import STUDIES, Store

# copied: it was not there; replaced: what was there had no result; same: both have it, with the same numbers; behind:
# what is there is as far or further. No success are: conflict: both have a result, with other numbers; broken: its
# result does not count; busy: a process trains it.
Outcome = Literal["copied", "replaced", "same", "behind", "conflict", "broken", "busy"]
BAD: tuple[Outcome, ...] = ("conflict", "broken", "busy")

# What two trainings of one run agree in; clocks and the machine's own facts may differ.
COMPARED = ("config", "dataset", "metrics", "diverged_at_step", "steps", "samples", "parameters")


@dataclass(frozen=True)
class Merged:
    """What became of one run folder.

    Args:
        source: The folder that was to be joined. It is never changed.
        outcome: See `Outcome`.
        reason: Why, where that is no success.
    """

    source: Path
    outcome: Outcome
    reason: str = ""

    def __str__(self) -> str:
        """The line for a user."""
        return f"{self.outcome:<9} {self.source}" + (f": {self.reason}" if self.reason else "")


def merged(store: Store, source: Store) -> Iterator[Merged]:
    """Joins the runs of `source` to `store`, one after the other, and tells what became of each.

    Each run folder appears whole or not at all, so an interrupted merge is simply repeated. Studies of both are
    recorded. Raises RunFolderError where `store` cannot be written to.
    """
    for run_id in sorted(name for name in source.present() if RUN_ID.fullmatch(name)):
        yield _merged(store.folder(run_id), source.folder(run_id))
    for study in source.studies():
        ids, others = store.ids_of(study), source.ids_of(study)
        labels = {
            run_id: labels
            for place, names in ((source, others), (store, ids))
            for run_id in names
            if (labels := place.labels_of(study, run_id))
        }
        store.record(study, ids | others, labels if set(labels) == ids | others else None)


def _merged(mine: RunFolder, theirs: RunFolder) -> Merged:
    state = theirs.state()
    if state == "running":
        return Merged(theirs.path, "busy", "a process trains it: merge it again when that has ended")
    if why := theirs.problem():
        return Merged(theirs.path, "broken", f"{RESULT} {why}")
    if not mine.path.exists():
        _copy(theirs.path, mine.path)
        return Merged(theirs.path, "copied")
    with mine.claim() as free:
        if not free:
            return Merged(theirs.path, "busy", f"a process trains {mine.path}")
        found = _compared(mine, theirs)
        if found.outcome == "replaced":
            _take_over(theirs, mine)
        return found


def _compared(mine: RunFolder, theirs: RunFolder) -> Merged:
    """What is to become of a run that both have; ours is claimed."""
    result, there = theirs.result(), None if mine.problem() else mine.result()
    if result is not None and there is not None:
        other = [key for key in COMPARED if result.get(key) != there.get(key)]
        if not other:
            return Merged(theirs.path, "same")
        return Merged(theirs.path, "conflict", f"{mine.path} has {_difference(result, there, other[0])}: both stay")
    further = theirs.checkpoint_path.exists() and not mine.checkpoint_path.exists()
    if result is not None or (there is None and further):
        return Merged(theirs.path, "replaced")
    return Merged(theirs.path, "behind")


def _difference(result: dict[str, Any], there: dict[str, Any], key: str) -> str:
    """The first thing that two results differ in: `test_accuracy 0.91, not 0.92`."""
    one, other = result.get(key), there.get(key)
    if isinstance(one, dict) and isinstance(other, dict):
        inner = next(name for name in sorted({*one, *other}) if one.get(name) != other.get(name))
        return f"{inner} {other.get(inner)}, not {one.get(inner)}"
    return f"{key} {other}, not {one}"


def _copy(source: Path, target: Path) -> None:
    """Copies a folder so that it appears whole."""
    fresh = temporary(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, fresh, ignore=shutil.ignore_patterns(LOCK, "*.tmp", "*.new"))
        fresh.rename(target)
    except OSError as error:
        shutil.rmtree(fresh, ignore_errors=True)
        raise unwritable(target, _first(error)) from None


def _take_over(theirs: RunFolder, mine: RunFolder) -> None:
    """Replaces what a claimed folder has by another's, its result last. An unusable result is kept aside."""
    if mine.result_path.exists():
        mine.set_aside()
    try:
        for name in (ERROR, CHECKPOINT):
            (mine.path / name).unlink(missing_ok=True)
        entries = [path for path in sorted(theirs.path.iterdir()) if path.name not in {LOCK, RESULT}]
        for path in [path for path in entries if path.suffix not in {".tmp", ".new"}]:
            if path.is_dir():
                shutil.copytree(path, mine.path / path.name, dirs_exist_ok=True)
            else:
                _copy_file(path, mine.path / path.name)
        if theirs.result_path.exists():
            _copy_file(theirs.result_path, mine.result_path)
    except OSError as error:
        raise unwritable(mine.path, _first(error)) from None


def _copy_file(source: Path, target: Path) -> None:
    fresh = temporary(target)
    try:
        shutil.copy2(source, fresh)
        fresh.replace(target)
    finally:
        fresh.unlink(missing_ok=True)


def _first(error: OSError) -> OSError:
    """The error itself, or the first of those that copying a folder has met."""
    if isinstance(error, shutil.Error) and error.args and error.args[0]:
        text = str(error.args[0][0][2])
        found = re.match(r"\[Errno (\d+)\] ([^:]+)", text)
        return OSError(int(found[1]), found[2]) if found else OSError(None, text)
    return error


def no_store(path: Path) -> RunFolderError | None:
    """The error for a folder that has no run folders in it; None for one that has."""
    if any(RUN_ID.fullmatch(name) for name in Store(path).present()):
        return None
    inside = path / "runs"
    hint = f": did you mean {inside}?" if inside.is_dir() else f": expected folders named by run ids, or {STUDIES}/"
    return RunFolderError(f"{path} has no run folders{hint}")
