"""One W&B run: opened, filled and closed. Nothing here waits for ever, and nothing raises into a training."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from normbench.spec.schema import RunConfig, run_id, to_dict
from normbench.tracking.mode import Decision, Mode, server, wandb_module
from normbench.tracking.points import AXES, Point

INIT_SECONDS = 15.0
REPORT_JOB = "report"  # job type of the W&B run that carries a report's figures
_said: set[str] = set()
_refused: set[str] = set()  # servers that refused this process: not asked again for every run


def without_key(text: str) -> str:
    """`text` as one line, with no API key in it."""
    key = os.environ.get("WANDB_API_KEY")
    return " ".join((text.replace(key, "***") if key else text).split())


def say_once(line: str) -> None:
    """A line on stderr, once a process."""
    line = without_key(line)
    if line not in _said:
        _said.add(line)
        print(line, file=sys.stderr, flush=True)


def identity(config: RunConfig, folder: Path) -> dict[str, Any]:
    """What W&B files a run under: id, project, group (the study), job type (the norm), tags and configuration."""
    data, model, logger = config.data, config.model, config.logger
    study = folder.resolve().parent.name
    tags = [study, model.name, model.norm or "none", data.name, *logger.tags]
    return {
        "id": run_id(config),
        "name": f"{model.norm} {model.name} batch {data.batch_size} seed {config.seed}",
        "project": logger.project,
        "entity": logger.entity,
        "group": study,
        "job_type": model.norm,
        "tags": sorted({tag[:64] for tag in tags if tag}),
        "config": to_dict(config),
    }


def settings(wandb: Any, finish_seconds: float, strict: bool, system: bool = False) -> Any:
    """Settings of a W&B run that neither talks nor waits for ever."""
    return wandb.Settings(
        init_timeout=INIT_SECONDS,
        finish_timeout=finish_seconds,
        finish_timeout_raises=strict,
        silent=True,
        console="off",
        # A result's environment says what it depends on; user, host and command line concern nobody.
        x_disable_meta=True,
        x_disable_machine_info=True,
        x_disable_stats=not system,
        x_save_requirements=False,
        disable_git=True,
        disable_code=True,
        disable_job_creation=True,
    )


class Session:
    """An open W&B run.

    Args:
        config: The resolved run.
        folder: Its folder; W&B's files go to `wandb` in there.
        mode: online or offline. A server that fails makes an online run an offline one, unless `strict`.
        strict: Raise what goes wrong instead; a run whose last rows are not taken in time is wrong, too.
    """

    def __init__(self, config: RunConfig, folder: Path, mode: Mode, strict: bool = False) -> None:
        self.wandb = wandb_module()
        self.config, self.folder, self.strict = config, folder, strict
        self.mode: Mode = mode
        self.run_id = run_id(config)
        self.next = 0
        self.run: Any = self._open()
        axis = config.logger.x_axis
        for name in AXES:
            self.run.define_metric(name, summary="none")
        # The summary is result.json, not the last point of each curve. (What is under media/ does belong there: W&B
        # draws tables from the summary.)
        for group in ("train", "validation", "test", "activations", "gradients"):
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
        return self.wandb.init(
            mode=mode,
            dir=str(self.folder),
            settings=settings(self.wandb, logger.finish_seconds, self.strict, logger.system),
            reinit="finish_previous",
            # A run that W&B knows goes on; offline, W&B knows nothing.
            resume="allow" if mode == "online" else None,
            **identity(self.config, self.folder),
        )

    def log(self, points: list[Point], media: Mapping[str, Any] | None = None) -> None:
        """Sends rows; `media` goes with the last of them. W&B leaves out the rows that it has."""
        for index, point in enumerate(points):
            extra = media if media and index == len(points) - 1 else {}
            self.run.log({**point, **extra}, step=self.next, commit=True)
            self.next += 1

    def close(self, result: Mapping[str, Any] | None) -> None:
        """Ends the run, with its result as the summary, or as failed. Waits `logger.finish_seconds` at most."""
        if result is not None:
            self.run.summary.update(dict(result))
        try:
            self.run.finish(exit_code=0 if result is not None else 1)
        finally:
            self.wandb.teardown()  # else the next run of this process might go on with this one
