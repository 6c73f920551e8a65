"""Results of version 0.1, `runs/STUDY/ID/` in layout 1: where they are, and their way into the shared store."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from normbench.errors import NormbenchError, RunFolderError
from normbench.store import layout1
from normbench.store.files import unwritable, write_atomically
from normbench.store.folder import CHECKPOINT, CONFIG, ERROR, LOCK, RESULT, RunFolder
from normbench.store.result import LAYOUT, Result, json_text, parsed, problem
from normbench.store.store import RUN_ID, Store

Tree = dict[str, Any]
# An old configuration and the device that its result names, to a configuration of today or why there is none.
Convert = Callable[[Mapping[str, Any], str], Tree | str]
# A configuration as written, to its run's id and the resolved one. Raises NormbenchError for one that cannot run.
Identify = Callable[[Tree], tuple[str, Tree]]

_HEAD = re.compile(rb'^\s*\{\s*"layout"\s*:\s*(\d+)\b')
_LEFT_BEHIND = frozenset({RESULT, CONFIG, LOCK, ERROR, CHECKPOINT, f"{CHECKPOINT}.new"})


@dataclass(frozen=True)
class Move:
    """What became of one old folder.

    Args:
        old: The old folder, `runs/STUDY/ID`.
        new: Where its result is now; None: it stayed.
        reason: Why it stayed; "" where it did not.
    """

    old: Path
    new: Path | None
    reason: str = ""

    @property
    def study(self) -> str:
        """The study that it belonged to."""
        return self.old.parent.name

    @property
    def moved(self) -> bool:
        """Whether its result is in the shared store now."""
        return self.new is not None

    def __str__(self) -> str:
        """The line for a user."""
        return f"{self.old} stays: {self.reason}" if self.new is None else f"{self.old} moved to {self.new}"


def old_folders(root: Path, study: str | None = None) -> Iterator[Path]:
    """Folders `root/STUDY/ID` with a result of layout 1, in the order of their names; of one study, or of all."""
    return (folder for folder in _below_studies(root, study) if _is_layout1(folder / RESULT))


def _below_studies(root: Path, only: str | None = None) -> Iterator[Path]:
    for study in sorted(_folders(root)) if only is None else [only]:
        if not RUN_ID.fullmatch(study) and not study.startswith("."):
            yield from (root / study / run_id for run_id in sorted(_folders(root / study)) if RUN_ID.fullmatch(run_id))


def waiting_line(root: Path, study: str | None = None) -> str | None:
    """One line that says that old results, of a study or of all, wait to be moved; None where there are none."""
    studies: dict[str, int] = {}
    for folder in old_folders(root, study):
        studies[folder.parent.name] = studies.get(folder.parent.name, 0) + 1
    if not studies:
        return None
    count = sum(studies.values())
    results = "1 result" if count == 1 else f"{count:,} results"
    where = ", ".join(str(root / name) for name in list(studies)[:3]) + (" ..." if len(studies) > 3 else "")
    verb = "is" if count == 1 else "are"
    return f"{results} of version 0.1 in {where} {verb} not counted: `normbench migrate` moves such results into {root}"


def _folders(path: Path) -> list[str]:
    with suppress(OSError), os.scandir(path) as entries:
        return [entry.name for entry in entries if entry.is_dir()]
    return []


def _is_layout1(path: Path) -> bool:
    # The first bytes tell: ten thousand results are not parsed to say one line.
    try:
        with path.open("rb") as file:
            head = file.read(64)
            if match := _HEAD.match(head):
                return int(match[1]) == layout1.LAYOUT
            result = parsed((head + file.read()).decode("utf-8", errors="replace"))
    except OSError:
        return False
    return result is not None and result.get("layout") == layout1.LAYOUT


def moved(root: Path, identify: Identify, convert: Convert = layout1.converted) -> Iterator[Move]:
    """Moves the results of layout 1 below `root` to `root/NEW ID`, one after the other, and tells what became of each.

    The new folder is whole before the old one is removed, so an interrupted move is simply repeated. What cannot be
    moved stays as it is. Studies are recorded with the runs that they brought.

    Args:
        root: Folder of the run folders.
        identify: See `Identify`.
        convert: See `Convert`.
    """
    store = Store(root)
    brought: dict[str, set[str]] = {}
    folders = list(old_folders(root))
    try:
        for folder in folders:
            try:
                move = _move(store, folder, convert, identify)
            except RunFolderError as error:  # a full disk, a folder that can only be read
                move = Move(folder, None, str(error))
            if move.new is not None:
                brought.setdefault(move.study, set()).add(move.new.name)
            yield move
        for folder in _below_studies(root):
            if why := _nothing_to_move(folder):
                yield Move(folder, None, f"{why}: its run is trained anew, and the folder can be removed")
    finally:
        for study, ids in brought.items():
            store.record(study, store.ids_of(study) | ids)
            _remove_empty(root / study)


def _move(store: Store, old: Path, convert: Convert, identify: Identify) -> Move:
    result = parsed((old / RESULT).read_text(encoding="utf-8", errors="replace"))
    try:
        run_id, tree = _counterpart(result, old, convert, identify)
    except NormbenchError as error:
        return Move(old, None, str(error))
    assert result is not None
    # What version 0.1 did not record is unknown now: a digest of the code, values a statistic.
    fresh = result | {"layout": LAYOUT, "run_id": run_id, "config": tree, "code_digest": None}
    fresh["migrated_from"] = {"layout": layout1.LAYOUT, "study": old.parent.name, "run_id": old.name}
    new = store.folder(run_id)
    if (why := problem(parsed(json_text(fresh)), run_id)) is not None:
        return Move(old, None, f"its result {why}")
    with RunFolder(old).claim() as free, new.claim() as mine:
        if not free or not mine:
            return Move(old, None, f"{old if not free else new.path} is being trained by another process")
        if new.result_path.exists():
            there = None if new.problem() else new.result()
            if there is None or there["metrics"] != parsed(json_text(fresh["metrics"])):
                said = "cannot be used" if there is None else "gives other numbers"
                return Move(
                    old, None, f"it is run {run_id}, which has a result already that {said}: remove one of them"
                )
        else:
            _take_over(old, new, fresh, tree)
    try:
        shutil.rmtree(old)
    except OSError as error:
        raise unwritable(old, error) from None
    return Move(old, new.path)


def _nothing_to_move(folder: Path) -> str | None:
    """Why a folder of version 0.1 has no result that could be moved; None for any other folder."""
    try:
        if not layout1.is_layout1(RunFolder(folder).config()):
            return None
        result = (folder / RESULT).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return "it has no result"
    except (NormbenchError, OSError):
        return None
    return f"{RESULT} is not a whole JSON object" if parsed(result) is None else None


def _counterpart(result: Result | None, old: Path, convert: Convert, identify: Identify) -> tuple[str, Tree]:
    """Id and configuration of today of an old result; raises NormbenchError with the reason where it has none."""
    if result is None or not isinstance(result.get("config"), dict):
        raise RunFolderError(f"{RESULT} is not a whole result")
    try:
        device = str(result["environment"]["device"])
        was = layout1.run_id(result["config"])
    except (KeyError, TypeError):
        raise RunFolderError(f"{RESULT} is not a whole result of version 0.1") from None
    if was != old.name or result.get("run_id") != old.name:
        plugins = " (a plug-in was edited since?)" if result["config"]["plugins"] else ""
        raise RunFolderError(f"its configuration is that of run {was}{plugins}")
    tree = convert(result["config"], device)
    if isinstance(tree, str):
        raise RunFolderError(tree)
    return identify(tree)


def _take_over(old: Path, new: RunFolder, result: Result, tree: Tree) -> None:
    """Copies what the old folder holds into the new one, the result last."""
    for name in (ERROR, CHECKPOINT):
        (new.path / name).unlink(missing_ok=True)
    try:
        for source in sorted(old.iterdir()):
            if source.name in _LEFT_BEHIND or source.name.endswith(".tmp"):
                continue
            target = new.path / source.name
            if source.is_dir():
                shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
            else:
                shutil.copy2(source, target)
    except OSError as error:
        raise unwritable(new.path, error) from None
    new.write_config(tree)
    write_atomically(new.result_path, json_text(result))


def _remove_empty(study: Path) -> None:
    """Removes an old study's folder once only its index is left."""
    with suppress(OSError):
        if {entry.name for entry in study.iterdir()} <= {"index.parquet"}:
            shutil.rmtree(study)
