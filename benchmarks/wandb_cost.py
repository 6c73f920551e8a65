"""What logging to W&B costs a run: off, offline as it comes, and offline with all that can be asked for.

    python benchmarks/wandb_cost.py [--rounds 8] [--samples 10000] [--data mnist]

The three are trained in turn in one process, in a changing order, so that what else the machine does hits all of
them. Three measures: the training time and the computing time (all threads and processes) as ratios to the same
round's run without W&B, and the work that logging does (hooks of the callback, the writer's thread, wandb-core) as a
share of the training time, which a busy machine blurs least.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from machine import described

from normbench.launch.ranks import train_here
from normbench.spec import RunConfig, replace, resolve
from normbench.tracking import mirror

RICH = {
    "logger.histograms": 5,
    "logger.confusion_matrix": True,
    "logger.filters": True,
    "logger.misclassified": 50,
}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "off": ("off", {}),
    "offline, as it comes": ("offline", {}),
    "offline, everything": ("offline", RICH),
}
HOOKS = (
    "on_train_start",
    "on_train_batch_start",
    "on_before_optimizer_step",
    "on_train_batch_end",
    "on_validation_start",
    "on_validation_end",
    "on_test_end",
)


class Work:
    """Seconds that logging takes in the training thread, in the writer's and in wandb-core."""

    def __init__(self) -> None:
        self.training = self.writer = 0.0

    def timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A hook that adds its time, less what an empty call takes."""

        def hook(*arguments: Any, **named: Any) -> Any:
            started = time.perf_counter()
            answer = function(*arguments, **named)
            self.training += time.perf_counter() - started
            return answer

        return hook

    def written(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The writer's thread."""

        def run(*arguments: Any) -> None:
            started = time.thread_time()
            function(*arguments)
            self.writer += time.thread_time() - started

        return run

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Measures what is run inside."""
        before = {name: mirror.Mirror.__dict__[name] for name in HOOKS}
        thread = mirror.Writer.run
        for name, function in before.items():
            setattr(mirror.Mirror, name, self.timed(function))
        mirror.Writer.run = self.written(thread)  # type: ignore[method-assign]
        children = children_seconds()
        try:
            yield
        finally:
            for name, function in before.items():
                setattr(mirror.Mirror, name, function)
            mirror.Writer.run = thread  # type: ignore[method-assign]
            self.core = children_seconds() - children


def children_seconds() -> float:
    """Computing time of processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(config: RunConfig, case: str) -> dict[str, float]:
    """One run of a case: its times, in seconds."""
    mode, changes = CASES[case]
    os.environ["NORMBENCH_WANDB"] = mode
    work = Work()
    with tempfile.TemporaryDirectory() as folder, work.watched():
        started, computed = time.perf_counter(), time.process_time() + children_seconds()
        result = train_here(resolve(replace(config, changes)), Path(folder, "runs", "run"))
        wall, computed = time.perf_counter() - started, time.process_time() + children_seconds() - computed
    return {
        "training": result["seconds"],
        "wall": wall,
        "computing": computed,
        "work": work.training + work.writer + work.core,
    }


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--samples", type=int, default=10_000, help="training images a run sees")
    parser.add_argument("--data", default="mnist")
    options = parser.parse_args()
    head = described()
    changes = {"data.name": options.data, "data.batch_size": 32, "model.norm": "batch"}
    config = replace(RunConfig(), changes | {"budget.samples": options.samples})
    for case in CASES:
        measure(config, case)  # imports and caches
    rounds = []
    cases = list(CASES)
    for index in range(options.rounds):
        order = cases[index % 3 :] + cases[: index % 3]
        rounds.append({case: measure(config, case) for case in order})
    plain = statistics.median(found["off"]["training"] for found in rounds)
    wall = statistics.median(found["off"]["wall"] for found in rounds)
    print(f"# What logging to W&B costs\n\nOutput of `python benchmarks/wandb_cost.py`.\n\n{head}\n")
    print(f"digit_cnn, batch norm, {options.data}, batch 32, {options.samples:,} images: {plain:.2f} s of training,")
    print(f"{wall:.2f} s in all; {config.trainer.loss_points} loss points, {config.trainer.validations} validations.")
    print(
        f"Medians of {options.rounds} rounds; times are ratios to the same round's run without W&B (in brackets: lowest"
    )
    print("and highest). The work is mostly opening the run, the same for every length of run; a worker imports wandb")
    print("once, which is not counted.\n")
    print("| logging | training time | computing time of the run | work of logging | share of the training time |")
    print("| --- | --- | --- | --- | --- |")
    for case in cases[1:]:
        cells = [
            ratio([found[case][what] / found["off"][what] for found in rounds]) for what in ("training", "computing")
        ]
        work = statistics.median(found[case]["work"] for found in rounds)
        print(f"| {case} | {cells[0]} | {cells[1]} | {work:.3f} s | {100 * work / plain:.1f} % |")


def ratio(values: list[float]) -> str:
    """Median and range."""
    return f"{statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})"


if __name__ == "__main__":
    main()
