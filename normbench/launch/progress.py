"""What a running study says: a bar with the time left on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from normbench.launch.launcher import Event, Task
from normbench.spec import RunConfig
from normbench.spec.counts import steps
from normbench.store.folder import LOCK
from normbench.study import PlannedRun, describe, estimate


def duration(seconds: float) -> str:
    """Seconds as a person says them: `45 s`, `7 min`, `2 h 5 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def console_of(stderr: bool) -> Console:
    """A console that is a terminal where its stream is: FORCE_COLOR, which CI sets, would take a log for one."""
    return Console(stderr=stderr, force_terminal=(sys.stderr if stderr else sys.stdout).isatty())


class Display:
    """A listener that shows how far a study is.

    Args:
        runs: The runs that are trained.
        console: Where it is shown; None: stderr.
        seconds: Gives the seconds that a run is expected to take.
    """

    def __init__(
        self,
        runs: Sequence[PlannedRun],
        console: Console | None = None,
        seconds: Callable[[RunConfig], float] = estimate,
    ) -> None:
        self.console = console or console_of(stderr=True)
        self.runs = {run.id: run for run in runs}
        self.weights = {run.id: seconds(run.config) for run in runs}
        self.total, self.count = sum(self.weights.values()), len(runs)
        self.finished = 0.0
        self.ended = 0
        self.failed: list[tuple[PlannedRun, str]] = []
        self.busy: dict[str, PlannedRun] = {}  # by id: those that another process trains
        self.partial: dict[str, float] = {}
        self.started = time.monotonic()
        self.bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self.overall = self.bars.add_task("study", total=self.total, note=f"0 of {self.count} runs")
        self.tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Display:
        self.bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        if self.console.is_terminal:  # before rich 15 bars that are not shown end with an empty line
            self.bars.stop()

    def __call__(self, event: Event, task: Task, value: object) -> None:
        """See `launcher.Listener`."""
        run = self.runs[task.run_id]
        name = f"{describe(run.cell)}, seed {run.seed}"
        if event == "start":
            self.busy.pop(run.id, None)
            self.tasks[run.id] = self.bars.add_task(escape(name), total=steps(run.config), note="")
        elif event == "progress":
            step = int(str(value))
            self.partial[run.id] = self.weights[run.id] * step / steps(run.config)
            self.bars.update(self.tasks[run.id], completed=step)
        elif event == "busy":
            self.busy[run.id] = run
            self._remove_bar(run)
            self._print(f"waiting: {name}: another process trains it, which holds {task.folder / LOCK}")
        else:
            self._ended(event, run, name, value)
        left = self.left()
        note = f"{self.ended} of {self.count} runs" + (f", about {duration(left)} left" if left is not None else "")
        self.bars.update(self.overall, completed=self.finished + sum(self.partial.values()), note=note)

    def _ended(self, event: Event, run: PlannedRun, name: str, value: object) -> None:
        self._remove_bar(run)
        if event == "retry":
            self._print(f"again: {name}: {value}; continuing from its last checkpoint")
            return
        self.ended += 1
        self.finished += self.weights[run.id]
        if event == "failed":
            self.failed.append((run, str(value)))
        elsewhere = " by another process" if self.busy.pop(run.id, None) else ""
        said = f"done{elsewhere}" if event == "done" else f"FAILED ({value})"
        left = self.left()
        rest = f", about {duration(left)} left" if left is not None and self.ended < self.count else ""
        self._print(f"[{self.ended}/{self.count}{rest}] {name}: {said}")

    def _remove_bar(self, run: PlannedRun) -> None:
        self.partial.pop(run.id, None)
        if run.id in self.tasks:
            self.bars.remove_task(self.tasks.pop(run.id))

    def _print(self, line: str) -> None:
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def left(self) -> float | None:
        """Seconds to go, from the share of the estimated work that is done; None while too little is."""
        done = self.finished + sum(self.partial.values())
        if done < 0.02 * self.total:
            return None
        return (time.monotonic() - self.started) * (self.total - done) / done
