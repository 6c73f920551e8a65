"""The curves of running runs in a terminal, from the project's own files: `normbench status --live STUDY`."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from normbench.launch.progress import console_of
from normbench.spec.counts import steps
from normbench.store import State, Store
from normbench.store.folder import METRICS
from normbench.study import Plan, PlannedRun, describe
from normbench.study.file import IDLE_SECONDS, untrained
from normbench.tracking.points import Follower, Point

BLOCKS, PLAIN_BLOCKS = "▁▂▃▄▅▆▇█×", "_.-:=+*#x"  # lowest to highest and no number; the latter for any terminal
WIDTH, NARROWEST = 40, 8
NUMBERS_WIDTH = 66  # what a line needs besides its curve: the run's name in two lines, step, loss, accuracy
REFRESH_SECONDS = 1.0
TURN = 100  # unfinished runs that are looked at each time though nothing says that they run
ORDER: tuple[State, ...] = ("done", "running", "failed", "interrupted", "broken", "waiting")
LIVING: tuple[State, ...] = ("running", "waiting", "interrupted")


def sparkline(values: Sequence[float], width: int = WIDTH, blocks: str = BLOCKS) -> str:
    """Values as a line of blocks, lowest to highest, the newest on the right; × for what is not a number.

    More values than `width` are averaged in consecutive groups.
    """
    size = max(1, math.ceil(len(values) / width))
    groups = [values[i : i + size] for i in range(0, len(values), size)]
    means = [sum(group) / len(group) for group in groups]
    finite = [mean for mean in means if math.isfinite(mean)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    span = high - low or 1.0
    levels, none = blocks[:-1], blocks[-1]
    return "".join(levels[int((m - low) / span * (len(levels) - 1) + 0.5)] if math.isfinite(m) else none for m in means)


class Curves:
    """The points of the runs of a study, read once and then followed."""

    def __init__(self, plan: Plan, store: Store) -> None:
        self.plan, self.store = plan, store
        self.followers: dict[str, Follower] = {}
        self.points: dict[str, list[Point]] = {}
        self.states: dict[str, State] = {}
        self.changed: int | None = None  # when a folder last came to the store or went, in ns
        self.turn = 0

    def look(self) -> dict[State, list[PlannedRun]]:
        """Which run does what now; reads what the running ones have added.

        All runs are looked at the first time, then those that run and those whose folder is new, and of the others
        TURN each time.
        """
        due = self._due()
        if due is None:
            self.states = self.store.states(self.plan.ids)
        else:
            self.states.update({run_id: self.store.folder(run_id).state() for run_id in due})
        found: dict[State, list[PlannedRun]] = {name: [] for name in ORDER}
        for run in self.plan.runs:
            now = self.states[run.id]
            found[now].append(run)
            if now == "running":
                follower = self.followers.setdefault(run.id, Follower(self.store.folder(run.id).path / METRICS))
                self.points.setdefault(run.id, []).extend(follower.read())
        return found

    def _due(self) -> list[str] | None:
        """The runs to look at; None: all."""
        try:
            changed: int | None = self.store.root.stat().st_mtime_ns
        except OSError:
            changed = None
        same, self.changed = changed == self.changed, changed
        if not self.states:
            return None
        running = [run_id for run_id, state in self.states.items() if state == "running"]
        there = set() if same else self.store.present()
        new = [run_id for run_id, state in self.states.items() if state == "waiting" and run_id in there]
        # One whose folder is there can be begun again, and a clock may be too coarse to tell a new one.
        rest = [run_id for run_id, state in self.states.items() if state not in ("running", "done")]
        start = self.turn % max(1, len(rest))
        self.turn = start + TURN
        return list(dict.fromkeys([*running, *new, *rest[start : start + TURN]]))

    def shown(
        self, found: dict[State, list[PlannedRun]], columns: int = 120, encoding: str = "utf-8"
    ) -> RenderableType:
        """The counts, and a line for each running run: whole numbers, curves as wide as there is room."""
        table = Table(box=None, pad_edge=False)
        table.add_column("running", overflow="fold")
        for heading in ("step", "loss", "", "val. accuracy", ""):
            table.add_column(heading, no_wrap=True)
        width = max(NARROWEST, min(WIDTH, columns - NUMBERS_WIDTH))
        blocks = BLOCKS if encoding.lower().startswith("utf") else PLAIN_BLOCKS
        for run in found["running"]:
            points = self.points[run.id]
            losses = [point["train/loss"] for point in points if "train/loss" in point]
            scores = [point["validation/accuracy"] for point in points if "validation/accuracy" in point]
            table.add_row(
                f"{describe(run.cell)}, seed {run.seed}",
                f"{points[-1]['step'] if points else 0:,}/{steps(run.config):,}",
                sparkline(losses, width, blocks),
                f"{losses[-1]:.4f}" if losses else "",
                sparkline(scores, NARROWEST, blocks),
                f"{100 * scores[-1]:.2f} %" if scores else "",
            )
        counts = ", ".join(f"{len(found[name])} {name}" for name in ORDER if found[name])
        line = Text(f"{self.plan.study.name}: {counts}")
        return Group(line, table) if found["running"] else line


def watch(plan: Plan, store: Store, console: Console | None = None, seconds: float = REFRESH_SECONDS) -> None:
    """Shows the curves until all runs are done or have failed; once where nothing can be written over.

    Runs that wait or were interrupted are waited for IDLE_SECONDS while none runs: nobody may be there to train them.
    """
    console = console or console_of(stderr=False)
    curves = Curves(plan, store)
    found = curves.look()

    def shown() -> RenderableType:
        return curves.shown(found, console.width, console.encoding)

    if not console.is_terminal or console.is_dumb_terminal:
        console.print(shown())
        return
    idle = 0.0
    with Live(shown(), console=console, auto_refresh=False) as live:
        while any(found[name] for name in LIVING) and idle < IDLE_SECONDS:
            time.sleep(seconds)
            found = curves.look()
            idle = 0.0 if found["running"] else idle + seconds
            live.update(shown(), refresh=True)
    if any(found[name] for name in LIVING):
        console.print(untrained(plan.study))
