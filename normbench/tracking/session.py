"""One W&B run: opened, filled and closed. Nothing here waits for ever, and nothing raises into a training."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from normbench.privacy import without_places
from normbench.spec import RunConfig, run_id
from normbench.tracking.client import open_run, say_once, settings, wandb_module
from normbench.tracking.identity import AXES, Places, axis_config, identity, tags
from normbench.tracking.mode import Decision, Mode, server
from normbench.tracking.points import POSITION, Point

GROUPS = ("train", "validation", "test", "activations", "gradients")  # what keys of logged values begin with
_refused: set[str] = set()  # servers that refused this process: not asked again for every run


class Session:
    """An open W&B run.

    Args:
        config: The resolved run.
        folder: Its folder; W&B's files go to `wandb` in there.
        mode: online or offline. A server that fails makes an online run an offline one, unless `strict`.
        places: The studies that use the run, the first one its group, each with the run's labels in it.
        strict: Raise what goes wrong instead; a run whose last rows are not taken in time is wrong, too.
        project: W&B project, where it is not the configuration's.
        entity: W&B user or team, likewise.
    """

    def __init__(
        self,
        config: RunConfig,
        folder: Path,
        mode: Mode,
        places: Places | None = None,
        strict: bool = False,
        project: str | None = None,
        entity: str | None = None,
    ) -> None:
        self.wandb = wandb_module()
        self.config, self.folder, self.strict = config, folder, strict
        self.mode: Mode = mode
        self.run_id = run_id(config)
        self.places: Places = places or {}
        self.identity = identity(config, list(self.places), project, entity)
        self.next = 0
        self.run: Any = self._open()
        self._add_studies()
        axis = config.logger.x_axis
        for name in POSITION:
            self.run.define_metric(name, summary="none")
        # The summary is result.json, not the last point of each curve. (What is under media/ does belong there: W&B
        # draws tables from the summary.)
        for group in GROUPS:
            self.run.define_metric(f"{group}/*", step_metric=axis, summary="none")

    def _open(self) -> Any:
        if not self.strict and self.mode == "online" and server() in _refused:
            self.mode = "offline"
        if self.mode == "online":
            try:
                return self._init("online")
            except (self.wandb.Error, TimeoutError) as error:
                self.wandb.teardown()
                if self.strict:
                    raise
                _refused.add(server())
                say_once(str(Decision("offline", str(error))))
                self.mode = "offline"
        # A torn offline folder of the same run holds nothing that is not sent again.
        for torn in (self.folder / "wandb").glob(f"offline-run-*-{self.run_id}"):
            shutil.rmtree(torn, ignore_errors=True)
        return self._init("offline")

    def _init(self, mode: Mode) -> Any:
        logger = self.config.logger
        return open_run(
            self.wandb,
            mode=mode,
            dir=str(self.folder),
            settings=settings(self.wandb, logger.finish_seconds, self.strict, logger.system),
            # A run that W&B knows goes on; offline, W&B knows nothing.
            resume="allow" if mode == "online" else None,
            # Of a run that W&B knows, other studies have their tags and labels: see _add_studies.
            tags=None if mode == "online" else tags(self.config, list(self.places)),
            **self.identity,
        )

    def _add_studies(self) -> None:
        """Adds this machine's studies to those that the run at W&B has already."""
        if self.mode == "online":
            wanted = sorted({*(self.run.tags or ()), *tags(self.config, list(self.places))})
            if wanted != sorted(self.run.tags or ()):
                self.run.tags = wanted
        if labels := axis_config(self.places):
            there = self.run.config.get(AXES)
            known = dict(there) if isinstance(there, Mapping) else {}
            self.run.config.update({AXES: known | labels}, allow_val_change=True)

    def log(self, points: list[Point], media: Mapping[str, Any] | None = None) -> None:
        """Sends rows; `media` goes with the last of them. W&B leaves out the rows that it has."""
        for index, point in enumerate(points):
            extra = media if media and index == len(points) - 1 else {}
            self.run.log({**point, **extra}, step=self.next, commit=True)
            self.next += 1

    def close(self, result: Mapping[str, Any] | None) -> None:
        """Ends the run, with its result as the summary, or as failed. Waits `logger.finish_seconds` at most."""
        if result is not None:
            self.run.summary.update(without_places(dict(result)))
        try:
            self.run.finish(exit_code=0 if result is not None else 1)
        finally:
            self.wandb.teardown()  # else the next run of this process might go on with this one
