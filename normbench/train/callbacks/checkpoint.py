"""checkpoint.ckpt, from which an interrupted run goes on, and weights.ckpt, the trained weights that stay."""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from normbench.errors import RunFolderError
from normbench.store.files import unwritable
from normbench.store.folder import CHECKPOINT, RunFolder

CALLBACK = "Recorder"  # under which the state of a run is in a checkpoint


def save(trainer: pl.Trainer, path: Path, weights_only: bool = False) -> None:
    """Replaces `path` by a checkpoint of now; a kill in between, of the machine even, leaves the old one or the new.

    Every process has to call it. Raises RunFolderError where it cannot.
    """
    fresh = path.with_name(path.name + ".new")
    try:
        trainer.save_checkpoint(fresh, weights_only=weights_only)
        if trainer.is_global_zero:
            with fresh.open("rb") as file:
                os.fsync(file.fileno())
            fresh.replace(path)
    except OSError as error:
        raise unwritable(path, error) from None
    except RuntimeError as error:  # torch wraps a full disk in one
        if not any(word in str(error) for word in ("write", "PytorchStreamWriter", "space", "file")):
            raise
        raise RunFolderError(f"cannot write {path}: {error}; free some space or name another folder") from None


def usable_checkpoint(folder: RunFolder, run_id: str, blocks: bool, first: bool) -> Path | None:
    """The checkpoint to go on from, or None.

    One that cannot be read, or is another run's, is kept aside under another name and the run starts again; one line
    on stderr says so.

    Args:
        folder: The run's folder.
        run_id: The run.
        blocks: Whether it executes several steps as one: Lightning counts its steps elsewhere then.
        first: Whether this is the process (of all that train together) that renames and speaks.
    """
    path = folder.checkpoint_path
    if first:
        path.with_name(path.name + ".new").unlink(missing_ok=True)
    if not path.exists():
        return None
    why = _trouble(path, run_id, blocks)
    if why is None:
        return path
    if first:
        print(f"warning: {folder.set_aside(CHECKPOINT, why)}; started again from step 0", file=sys.stderr)
    return None


def _trouble(path: Path, run_id: str, blocks: bool) -> str | None:
    """Why a run cannot go on from a checkpoint, or None."""
    if path.stat().st_size == 0:
        return "is empty"
    try:
        saved: Any = torch.load(path, map_location="cpu", weights_only=False)
        state = saved["callbacks"][CALLBACK]
        whole = {"loops", "state_dict", "optimizer_states"} <= saved.keys()
        other, in_blocks = state["run"], state.get("blocks", False)
    except Exception as error:  # a broken pickle raises anything
        return f"cannot be read ({type(error).__name__})"
    if not whole:
        return "is not whole"
    if other != run_id:
        return f"is of another run ({other})"
    if in_blocks == blocks:
        return None
    ways = ("several steps executed as one", "each step executed alone")
    then, now = ways if in_blocks else ways[::-1]
    return f"was made with {then}, and this call has {now} (trainer.steps_per_execution, or its callbacks)"


class Best:
    """Keeps the weights that did best on the validation images: highest accuracy, then lowest NLL, then earliest.

    The run goes on from the last weights all the same, and is tested with them: what is kept changes no number.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.score: list[float] | None = None

    def offer(self, trainer: pl.Trainer, accuracy: float, nll: float) -> None:
        """Saves the weights if they are the best so far."""
        score = [accuracy, -nll]
        if all(map(math.isfinite, score)) and (self.score is None or score > self.score):
            self.score = score
            save(trainer, self.path, weights_only=True)
