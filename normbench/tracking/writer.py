"""The thread that owns a W&B run while it is trained: training hands over rows and goes on."""

from __future__ import annotations

import queue
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from normbench.errors import UsageError
from normbench.spec import RunConfig
from normbench.tracking.client import INIT_SECONDS, say_once
from normbench.tracking.identity import Places
from normbench.tracking.mode import Decision, Mode, decide
from normbench.tracking.points import Point
from normbench.tracking.session import Session

# Opening a W&B run takes 0.06 s of computing. Runs of less than this open theirs during the first validation, while
# the training clock stands still.
OPEN_AFTER_SECONDS = 2.0


class Writer(threading.Thread):
    """Opens the W&B run, logs what it is given, closes it.

    Args:
        config: The resolved run.
        folder: Its folder.
        places: See `Session`.
    """

    def __init__(self, config: RunConfig, folder: Path, places: Places) -> None:
        super().__init__(name="wandb", daemon=True)  # a process that ends does not wait for W&B
        self.config, self.folder, self.places = config, folder, places
        self.may_open = threading.Event()
        self.jobs: queue.SimpleQueue[tuple[list[Point], Mapping[str, Any]] | None] = queue.SimpleQueue()
        self.result: Mapping[str, Any] | None = None

    def run(self) -> None:
        """The thread."""
        try:
            self.may_open.wait(OPEN_AFTER_SECONDS)
            mode = self._mode()
            if mode == "off":
                return
            session = Session(self.config, self.folder, mode, self.places)
            try:
                while (job := self.jobs.get()) is not None:
                    session.log(*job)
            finally:
                session.close(self.result)
        except Exception as error:  # whatever W&B does, the training goes on, and its own files are whole
            say_once(f"wandb: gave up: {type(error).__name__}: {error}; `normbench wandb push` sends what is missing")

    def _mode(self) -> Mode:
        try:
            decision = decide(self.config.logger)
        except UsageError as error:  # a study asks before it starts; a run that has started goes on
            decision = Decision("offline", str(error))
        if decision.reason:
            say_once(str(decision))
        return decision.mode

    def close(self, result: Mapping[str, Any] | None) -> None:
        """Waits for the last rows to be taken, for as long as the configuration allows."""
        self.result = result
        self.may_open.set()
        self.jobs.put(None)
        self.join(2 * INIT_SECONDS + self.config.logger.finish_seconds)
        if self.is_alive():
            say_once("wandb: does not end: left behind; `normbench wandb push` sends what is missing")
