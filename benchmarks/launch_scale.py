"""What launching costs: thousands of simulated runs of 10 ms, each claimed, and ended with a result on the disk.

    python benchmarks/launch_scale.py [--runs 10000] [--launcher local] [--launch OPTION=VALUE]

Says the seconds that a run costs beside its 10 ms: in a loop without a launcher (claim, lock, result, fsync), and
through the launcher; the memory of the launching process after a tenth and at the end; and whether all results are
there, each trained once. Figures of this project are in launch_scale.txt, those of Slurm and Ray
in launch_engines.txt.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import psutil

from normbench.launch.launcher import Event, Task, launcher
from normbench.spec import parse_yaml
from normbench.store.folder import Progress, RunFolder

SECONDS = 0.01
RESULT = {
    "config": {"seed": 0, "model": {"name": "mlp", "norm": "none"}, "data": {"batch_size": 1}},
    "dataset": {"name": "none"},
    "metrics": {},
    "environment": {},
    **dict.fromkeys(("steps", "samples", "parameters", "devices", "virtual_devices", "device_batch"), 1),
    **dict.fromkeys(("images_per_statistic", "lr", "seconds", "wall_seconds"), 1),
}


def simulated(task: Task, progress: Progress) -> bool:
    """A run of 10 ms. Each training adds a byte to a file, so that one that was trained twice is seen."""
    folder = RunFolder(task.folder)
    with folder.claim() as mine:
        if mine and folder.result() is None:
            with (task.folder / "trainings").open("a") as file:
                file.write("x")
            time.sleep(SECONDS)
            progress(1)
            folder.write_result(RESULT)
        return mine


def tasks(root: Path, count: int) -> list[Task]:
    """Tasks with folders below `root`."""
    return [Task(f"{index:016x}", {}, root / f"{index:016x}") for index in range(count)]


class Memory:
    """A listener that measures this process when a share of the runs is done."""

    def __init__(self, count: int) -> None:
        self.count, self.done, self.first, self.sizes = count, 0, 0.0, dict[str, float]()

    def __call__(self, event: Event, task: Task, value: object) -> None:
        """See `Listener`."""
        if event not in {"done", "failed"}:
            return
        assert event == "done", value
        if not self.done:
            self.first = time.perf_counter()
        self.done += 1
        if self.done in {max(1, self.count // 10), self.count}:
            self.sizes[f"{100 * self.done // self.count} %"] = psutil.Process().memory_info().rss / 1e6


def main(argv: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--launcher", default="local")
    parser.add_argument("--launch", action="append", default=[], metavar="OPTION=VALUE")
    parser.add_argument("--folder", type=Path, help="where run folders are made (default: the temporary folder)")
    options = parser.parse_args(argv)
    given = {name: parse_yaml(value, name) for name, _, value in (text.partition("=") for text in options.launch)}
    # Importable by jobs and nodes, which know nothing of this script.
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    engine, loads = launcher(options.launcher, **given), os.getloadavg()
    engine.work = import_module("launch_scale").simulated  # type: ignore[attr-defined]
    with tempfile.TemporaryDirectory(dir=options.folder) as place:
        few = tasks(Path(place, "loop"), min(500, options.runs))
        begin = time.perf_counter()
        for task in few:
            simulated(task, lambda step: None)
        alone = (time.perf_counter() - begin) / len(few) - SECONDS
        many, memory = tasks(Path(place, "launched"), options.runs), Memory(options.runs)
        begin = time.perf_counter()
        engine.launch(many, memory)
        wall = time.perf_counter() - begin
        whole = sum(RunFolder(task.folder).result() is not None for task in many)
        twice = sum((task.folder / "trainings").stat().st_size > 1 for task in many)
    workers, started = engine.at_once(many), memory.first - begin
    each = (wall - started) * workers / max(1, options.runs - 1) - SECONDS
    from machine import described  # only now: it imports torch, and the memory of this process is measured

    sizes = ", ".join(f"{size:.1f} MB at {share}" for share, size in memory.sizes.items())
    print(f"{described(loads)}\n")
    print(f"{options.launcher}: {options.runs} runs of 10 ms, {workers} workers")
    print(f"  in a loop without a launcher    {1e3 * alone:8.2f} ms a run beside its 10 ms")
    print(f"  through the launcher            {1e3 * each:8.2f} ms a run and worker beside its 10 ms")
    print(f"  until the first run was done    {started:8.2f} s, {wall:.1f} s in all")
    print(f"  memory of this process          {sizes}")
    print(f"  results                         {whole} of {options.runs}, {twice} trained twice")


if __name__ == "__main__":
    main()
