"""Speed of training against scripts that a user would write and against a loop tuned by hand.

    python benchmarks/training.py [--batch 2 32] [--norm batch] [--model digit_cnn] [--rounds 3] [--seconds 4]
                                  [--part training studies] [--out FILE]

Contenders take turns (A B A B) in fresh processes on a machine that should do nothing else. By default all five batch
sizes, and for the digit CNN all five norms; the obvious scripts and the second worker are measured with the digit CNN
and batch norm alone; the other networks with batch norm alone. `--batch` leaves out the other batch sizes; `--norm` or
`--model` name cells, and then every contender is measured in each of them. Beside whole studies, all scripts run in the
first round, and the best of them in the others. Three rounds, the default, took 68 minutes on two cores; on another
day, two rounds took 73.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple

import torch
from machine import data_folder, described
from turns import CONTENDERS, ROOT, Contender, command, environment, turns

from normbench.errors import UsageError
from normbench.spec import DegenerateStatisticWarning, resolve, run_config, yaml_text

sys.path.insert(0, str(CONTENDERS))
import ours  # scripts, not a package
from networks import network

BATCHES, NORMS = (2, 8, 32, 128, 512), ("none", "batch", "layer", "instance", "group")
MODELS = ("digit_cnn", "strided_cnn", "mlp")
WORKERS = 2
OBVIOUS = [
    Contender(f"{kind}, {workers} loader workers", script, extra={"workers": workers})
    for kind, script in (("PyTorch", "obvious_torch"), ("Lightning", "obvious_lightning"))
    for workers in (0, 2)
]
TUNED, OURS = Contender("tuned", "tuned", WORKERS), Contender("normbench", "ours", WORKERS)
ONE = Contender("one worker", "ours")
PEAK = Contender("peak", "peak", WORKERS)
PARTS = ("training", "studies")

# What a study of the wall-clock part trains: batch norm, as the scripts do, since norms differ in cost.
STUDY_BATCHES, STUDY_RATES, STUDY_SEEDS = (2, 32, 128), (0.0005, 0.00075, 0.001, 0.0015, 0.002), 2
SAMPLES, VALIDATIONS = 20_000, 4

BEFORE = """## Before

The same figures of the first day of version 0.2, on another machine (AMD EPYC, two cores; digit CNN, batch norm, Adam,
torch 2.14; two rounds):

| batch | better obvious script | tuned x 2 | normbench, 2 workers | share of tuned |
|---:|---:|---:|---:|---:|
| 2 | 514, 404 | 2,541, 2,136 | 1,018, 991 | .40 to .46 |
| 32 | 1,855, 1,645 | 5,249, 5,108 | 5,067, 5,033 | .97 to .99 |
| 128 | 2,225, 2,376 | 5,233, 5,514 | 5,043, 4,841 | .88 to .96 |
"""

Cell = tuple[str, str, int]  # model, norm, batch size


def chosen_cells(options: argparse.Namespace) -> list[tuple[Cell, list[Contender]]]:
    """The cells to measure, and who is measured in each."""
    named = options.norm or options.model
    cells = product(options.model or MODELS, options.norm or NORMS, options.batch or BATCHES)
    found = []
    for model, norm, batch in cells:
        full = bool(named) or (model, norm) == ("digit_cnn", "batch")
        if full or model == "digit_cnn" or norm == "batch":
            found.append(((model, norm, batch), [*OBVIOUS, TUNED, OURS, ONE] if full else [TUNED, OURS]))
    return found


def refused(cell: Cell) -> bool:
    """Whether normbench refuses such a network, whose statistics would be of one value each."""
    try:
        with warnings.catch_warnings(action="ignore", category=DegenerateStatisticWarning):
            resolve(run_config(ours.keys(*cell)))
    except UsageError as error:
        if "one value" not in str(error):
            raise
        return True
    return False


def flops(model: str, norm: str) -> float:
    """Floating-point operations of a forward and a backward pass, for an image: those of matrix products."""
    from torch.utils.flop_counter import FlopCounterMode

    net = network(model, norm, fast=True)
    with FlopCounterMode(display=False) as counter:
        net(torch.randn(32, 1, 28, 28)).sum().backward()
    return counter.get_total_flops() / 32


def listed(values: Sequence[float]) -> str:
    """Median, and all values where they are few."""
    if len(values) == 1:
        return f"{values[0]:,.0f}"
    rounds = ", ".join(f"{value:,.0f}" for value in values) if len(values) <= 3 else f"{len(values)} rounds"
    return f"{statistics.median(values):,.0f} ({rounds})"


def ratio(one: Sequence[float], other: Sequence[float]) -> str:
    """Median of the ratios within the rounds, and their range."""
    ratios = [a / b for a, b in zip(one, other, strict=True)]
    if len(ratios) == 1:
        return f"{ratios[0]:.2f}"
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def training_part(options: argparse.Namespace, data: Path) -> Iterator[str]:
    """Lines of the tables of training alone, as they come."""
    peak = turns([PEAK], {"seconds": options.seconds}, data, options.rounds)["peak"]
    machine = statistics.median(peak)
    yield "## Training alone\n"
    yield (
        f"Images a second of both processes; median (each round). Rounds: {options.rounds}, of {options.seconds:g} s "
        "after a warm-up. Ratios are taken within a round: median (range). Peak: forward and backward operations of "
        "matrix products (torch.utils.flop_counter) an image, times images a second, over those of products of "
        f"1024 x 1024 float32 matrices on one thread of each of {WORKERS} processes ({machine / 1e9:,.0f} GFLOP/s). "
        "A dash: one value for each statistic, which normbench refuses.\n"
    )
    model_before = ""
    for cell, contenders in chosen_cells(options):
        model, norm, batch = cell
        if model != model_before:
            yield f"\n### {model}\n"
            heads = ["norm", "batch", "obvious script", "which", "tuned x 2", "normbench, 2 workers"]
            heads += ["share of tuned", "times obvious", "2 workers / 1", "peak: tuned", "peak: normbench"]
            yield f"| {' | '.join(heads)} |"
            yield f"|---|---:|---:|---|{'---:|' * 7}"
            model_before = model
        if refused(cell):
            yield f"| {norm} | {batch} | {' | '.join(['—'] * 9)} |"
            continue
        ask = {"model": model, "norm": norm, "batch": batch, "seconds": options.seconds}
        found = turns(contenders, ask, data, options.rounds)
        scripts = {c.name: found[c.name] for c in contenders if c in OBVIOUS}
        best = max(scripts, key=lambda name: statistics.median(scripts[name]), default=None)
        each = flops(model, norm)
        cells = [norm, str(batch)]
        cells += [listed(scripts[best]), best] if best else ["", ""]
        cells += [listed(found["tuned"]), listed(found["normbench"]), ratio(found["normbench"], found["tuned"])]
        cells += [ratio(found["normbench"], scripts[best])] if best else [""]
        cells += [ratio(found["normbench"], found["one worker"])] if "one worker" in found else [""]
        cells += [f"{statistics.median(found[name]) * each / machine:.0%}" for name in ("tuned", "normbench")]
        yield f"| {' | '.join(cells)} |"


class StudyTime(NamedTuple):
    """Wall seconds of a whole study with normbench, report included, by part.

    Args:
        runs: Its number of runs.
        training: Of a worker: what its runs count as training.
        other: Of a worker: what else its runs take: evaluation, and what comes before and after.
        start: What `normbench run` takes besides: start-up, and a worker without work at the end.
        report: `normbench report`.
    """

    runs: int
    training: float
    other: float
    start: float
    report: float

    @property
    def seconds(self) -> float:
        """All of them."""
        return self.training + self.other + self.start + self.report


def study_time(batch: int, samples: int, data: Path) -> StudyTime:
    """Trains and reports a study from nothing, and times it."""
    tree = {
        "name": "speed",
        "question": "How long does a study take?",
        "base": {
            "data": {"name": "mnist", "allow_embedded": False},
            "model": {"name": "digit_cnn", "norm": "batch"},
            "optimizer": {"name": "adam"},
            "budget": {"samples": samples},
            "trainer": {"validations": VALIDATIONS},
        },
        "grid": {"optimizer.lr": list(STUDY_RATES), "data.batch_size": [batch]},
        "seeds": STUDY_SEEDS,
        "compare": {"factor": "optimizer.lr", "baseline": 0.001},
    }
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "speed.yaml").write_text(yaml_text(tree), encoding="utf-8")
        normbench = [sys.executable, "-m", "normbench"]
        took = []
        for words in (["run", "speed.yaml", "--workers", str(WORKERS)], ["report", "speed.yaml"]):
            started = time.perf_counter()
            run([*normbench, *words], data, Path(folder))
            took.append(time.perf_counter() - started)
        results = [json.loads(file.read_text()) for file in Path(folder, "runs").glob("*/result.json")]
    assert len(results) == len(STUDY_RATES) * STUDY_SEEDS, f"{len(results)} runs have a result"
    training, whole = (sum(result[name] for result in results) / WORKERS for name in ("seconds", "wall_seconds"))
    return StudyTime(len(results), training, whole - training, took[0] - whole, took[1])


def script_seconds(contender: Contender, batch: int, samples: int, data: Path) -> float:
    """Wall seconds of a run with a script, start-up and the same evaluation included."""
    ask = {"model": "digit_cnn", "norm": "batch", "batch": batch, "samples": samples, "validations": VALIDATIONS}
    started = time.perf_counter()
    run(command(contender, ask, data), data, ROOT)
    return time.perf_counter() - started


def run(words: Sequence[str], data: Path, folder: Path) -> None:
    """Runs a command; ends the program with what it said where it fails."""
    done = subprocess.run(words, env=environment(data), cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{words} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"[-3000:])


def studies_part(options: argparse.Namespace, data: Path) -> Iterator[str]:
    """Lines of the table of whole studies, as they come."""
    yield "\n## Whole studies\n"
    yield (
        f"Runs an hour; digit CNN, batch norm, Adam, {options.samples:,} images a run, {VALIDATIONS} validations of "
        f"5,000 images and one test of 10,000. normbench: `run` and `report` of {len(STUDY_RATES)} learning rates x "
        f"{STUDY_SEEDS} seeds with {WORKERS} workers, from nothing. Scripts: a process a run, one after the other (one "
        "measured in each round, since all take the same time), default threads; the best of the first round alone in "
        "further ones. Median (each round); ratios are taken within a round.\n"
    )
    yield f"| batch | {' | '.join(c.name for c in OBVIOUS)} | normbench, 2 workers | times the better script |"
    yield f"|---:|{'---:|' * (len(OBVIOUS) + 2)}"
    for batch in [size for size in STUDY_BATCHES if size in (options.batch or STUDY_BATCHES)]:
        hourly: dict[str, list[float]] = {c.name: [] for c in (*OBVIOUS, OURS)}
        scripts = OBVIOUS
        for _ in range(options.rounds):
            for contender in scripts:
                hourly[contender.name].append(3600 / script_seconds(contender, batch, options.samples, data))
            took = study_time(batch, options.samples, data)
            hourly["normbench"].append(3600 * took.runs / took.seconds)
            scripts = [max(OBVIOUS, key=lambda c: hourly[c.name][0])]
        best = scripts[0].name
        cells = [str(batch), *map(listed, hourly.values()), ratio(hourly["normbench"], hourly[best])]
        yield f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, nargs="+")
    parser.add_argument("--norm", nargs="+", choices=NORMS)
    parser.add_argument("--model", nargs="+", choices=MODELS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="timed in each turn, after a warm-up")
    parser.add_argument("--samples", type=int, default=SAMPLES, help="images that a run of a whole study trains on")
    parser.add_argument("--part", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--out", type=Path, help="file to write, besides printing; it grows as figures come")
    options = parser.parse_args()
    data = data_folder()
    words = " ".join(word for word in sys.argv[1:] if word not in {"--out", str(options.out)})
    lines = ["# Speed of training\n", f"`python benchmarks/training.py{' ' * bool(words)}{words}`\n", described()]
    lines += [
        "\nContenders take turns in fresh processes. *Obvious script*: torchvision's data set and a DataLoader, plain "
        "PyTorch or Lightning, 0 or 2 loader workers, default threads; the best of the four. *Tuned*: data as one "
        "tensor in memory, taken by index up to 16 batches at a time, one thread, fused optimizer, channels_last, no "
        "denormal numbers, no wait in a step; every trick but the allocator's; two processes. *normbench*: training "
        "alone is that of two processes of one thread, each with one call of `train()`, without the pool of workers, "
        "which whole studies have. All: Adam, the same networks, cross-entropy; evaluation and checkpoints left out, "
        "curve points not. W&B is off in every figure here; what it costs is in `wandb_cost.md`. Code: "
        "`benchmarks/contenders/`.\n"
    ]
    print("\n".join(lines), flush=True)
    parts = {"training": training_part, "studies": studies_part}
    started = time.perf_counter()
    for part in options.part:
        for line in parts[part](options, data):
            print(line, flush=True)
            lines.append(line)
            if options.out:
                options.out.write_text("\n".join([*lines, "", BEFORE]), encoding="utf-8")
    lines.append(f"\nAll this took {(time.perf_counter() - started) / 60:.0f} minutes.\n\n{BEFORE}")
    print(lines[-1])
    if options.out:
        options.out.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
