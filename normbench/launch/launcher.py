"""What every launcher takes and tells: tasks in, events out. It decides where a run runs, and nothing about the run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, cast

from normbench.errors import UsageError
from normbench.spec.keys import to_dict
from normbench.spec.registry import Registry
from normbench.spec.schema import RunConfig


@dataclass(frozen=True)
class Task:
    """One run to train, as plain data that can be sent to another process or machine.

    Args:
        run_id: Its id.
        config: Its configuration as a nested mapping.
        folder: Its folder.
        devices: Processes (one a device) on each node.
        threads: CPU threads of each process.
        gpu: Whether each process needs a GPU.
        gpu_share: What it takes of that GPU.
        nodes: Machines.
    """

    run_id: str
    config: Mapping[str, Any] = field(repr=False, hash=False)
    folder: Path
    devices: int = 1
    threads: int = 1
    gpu: bool = False
    gpu_share: float = 1.0
    nodes: int = 1


Event = Literal["start", "progress", "done", "busy", "failed", "retry"]
# Told what, of which run, and the step (progress), a reason (failed, retry) or nothing. A run that was started may turn
# out busy: another process trains it; `done` or `failed` follows when that has ended, or `start` if it was given up.
Listener = Callable[[Event, Task, object], None]


class Launcher(Protocol):
    """Trains tasks somewhere. No run is trained twice, and a lost worker loses no run."""

    def launch(self, tasks: Sequence[Task], listener: Listener) -> None:
        """Returns when every task is done or has failed; what could not be started at all raises NormbenchError."""

    def at_once(self, tasks: Sequence[Task]) -> int:
        """How many of the tasks run at the same time, at most."""


LAUNCHERS = Registry("launcher", "launch", "normbench.launch.known")


def launcher(name: str = "local", **options: Any) -> Launcher:
    """The launcher of that name with its own options, checked.

    Example:
        >>> launcher("local", workers=2)  # doctest: +ELLIPSIS
        <normbench.launch.local.LocalLauncher object at ...>
    """
    entry = LAUNCHERS.get(name)
    return cast(Launcher, entry.build(**entry.chosen(options, f"launch.{name}")))


def task_of(run_id: str, config: RunConfig, folder: Path) -> Task:
    """The task of a resolved run."""
    trainer = config.trainer
    return Task(
        run_id,
        to_dict(config),
        folder,
        devices=trainer.devices,
        threads=trainer.threads,
        gpu=trainer.accelerator == "cuda",
        gpu_share=trainer.gpu_share,
        nodes=trainer.num_nodes,
    )


def refuse_nodes(tasks: Sequence[Task], where: str) -> None:
    """Raises UsageError where a task needs more machines than a launcher has."""
    for task in tasks:
        if task.nodes > 1:
            raise UsageError(
                f"trainer.num_nodes={task.nodes}: {where} has one; start `normbench train` with this configuration "
                "once on each node, with NODE_RANK, MASTER_ADDR and MASTER_PORT set"
            )
