"""Where the time goes: of a step, its parts and the functions that a profiler sees; of a study, its parts.

    python benchmarks/step_profile.py [--batch 2 32] [--norm batch group] [--seconds 2] [--rounds 3] [--out FILE]

About ten minutes on two cores. Only the tables by function come from a profiler, which doubles the time of Python
functions: they are for shares alone.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import training
from machine import ROOT, data_folder, described, tell
from torch.nn import functional as F
from turns import CONTENDERS

from normbench.data.module import MNISTDataModule
from normbench.spec import RunConfig, resolve, run_config, run_id
from normbench.study.cost import Enough, Meter
from normbench.train.module import NormClassifier, learning_rate
from normbench.train.optimizers import build_optimizer
from normbench.train.run import surroundings, train

sys.path.insert(0, str(CONTENDERS))
import ours  # a script, not a package

CLOCK = time.process_time  # one thread: what else the machine does is not counted
WARMUP = 50
PARTS = ("batch", "forward and loss", "backward", "optimizer")
FUNCTIONS = 15
# Whose code a function is, by its file; the first that fits.
OWNERS = (
    ("normbench", f"{ROOT}/normbench/"),
    ("Lightning", "/lightning"),
    ("torch.optim, in Python", "/torch/optim/"),
    ("torch, in Python", "/torch/"),
)


def on_cpu(keys: dict[str, Any]) -> RunConfig:
    """The run of these keys where the bare loop computes, whatever else the machine has."""
    return resolve(run_config({**keys, "trainer.accelerator": "cpu"}))


def parts(config: RunConfig, seconds: float) -> dict[str, float]:
    """Microseconds of a step in each of PARTS, in a bare loop over what normbench builds."""
    with surroundings(config):
        data = MNISTDataModule.from_config(config.data, config.seed)
        data.setup()
        module = NormClassifier(config.model, config.optimizer, config.seed, image=data.image_shape)
        lr = learning_rate(config.optimizer, config.data.batch_size)
        net = module.net.train()
        optimizer = build_optimizer(config.optimizer.name, net.parameters(), lr, config.optimizer.options)
        spent = dict.fromkeys(PARTS, 0.0)
        clock, steps, until = CLOCK, 0, float("inf")
        for images, labels, got in _timed(data):
            at = [clock()]
            loss = F.cross_entropy(net(images), labels)
            at.append(clock())
            optimizer.zero_grad()
            loss.backward()
            at.append(clock())
            optimizer.step()
            at.append(clock())
            steps += 1
            if steps == WARMUP:
                until = at[-1] + seconds
            elif steps > WARMUP:
                for name, took in zip(PARTS, [got, *(b - a for a, b in pairwise(at))], strict=True):
                    spent[name] += took
            if at[-1] > until:
                break
    return {name: value / (steps - WARMUP) * 1e6 for name, value in spent.items()}


def _timed(data: MNISTDataModule) -> Iterator[tuple[Any, Any, float]]:
    """Batches without end, each with the seconds that it took."""
    while True:
        batches = iter(data.train_dataloader())
        while True:
            since = CLOCK()
            batch = next(batches, None)
            if batch is None:
                break
            yield *batch, CLOCK() - since


def whole(config: RunConfig, meter: Meter) -> float:
    """Microseconds of a step of a run as a study trains it."""
    with tempfile.TemporaryDirectory() as root:
        try:
            train(config, Path(root, run_id(config)), meter)
        except Enough:
            return meter.seconds / meter.steps * 1e6
    raise SystemExit("the run ended before it was timed")


def profiled(config: RunConfig, seconds: float) -> tuple[dict[str, float], list[tuple[str, float, int]], float]:
    """Microseconds of a step by owner, and by function (name, microseconds, calls a hundred steps), and in all."""
    profile = cProfile.Profile(CLOCK)
    meter = Meter(seconds, CLOCK, begin=profile.enable, wait=profile.disable)
    step = whole(config, meter)
    stats = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    owners: dict[str, float] = {}
    functions = []
    for (file, line, name), (_, calls, own, _, _) in stats.items():
        took = own / meter.steps * 1e6
        whose = owner(file, name)
        owners[whose] = owners.get(whose, 0.0) + took
        where = name if file == "~" else f"{Path(file).name}:{line} {name}"
        functions.append((where.strip("<>{}"), took, round(100 * calls / meter.steps)))
    functions.sort(key=lambda found: -found[1])
    return dict(sorted(owners.items(), key=lambda item: -item[1])), functions[:FUNCTIONS], step


def curve_points(options: argparse.Namespace) -> list[str]:
    """What the points of the curve cost small networks, of which each ends a block of steps: a table."""
    lines = [
        "\n## Points of the curve, which end a block of steps: batch norm\n",
        "*Points* is a run with a point every 400 images, 50 in the default budget, or one a batch; *none* is a run "
        "without. Microseconds of a step as above; the difference is Lightning's loop, once a block, and the point.\n",
        "| network | batch | steps between points | points | none | share of the points |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for model, batch in product(("strided_cnn", "mlp"), (128, 512)):
        keys = ours.keys(model, "batch", batch)
        runs = {"points": keys, "none": keys | {"trainer.loss_points": 1}}
        found: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(options.rounds):
            for name, one in runs.items():
                found[name].append(whole(on_cpu(one), Meter(options.seconds, CLOCK)))
        points, none = (statistics.median(found[name]) for name in ("points", "none"))
        every = max(ours.POINT, batch) // batch
        lines.append(f"| {model} | {batch} | {every} | {points:,.0f} | {none:,.0f} | {1 - none / points:.0%} |")
    return lines


def study_parts() -> list[str]:
    """Where the time of a whole study goes: a table."""
    lines = [
        "\n## A whole study\n",
        f"Seconds of the studies of `training.md`, once: {training.SAMPLES:,} images a run, {training.VALIDATIONS} "
        f"validations of 5,000 images and one test of 10,000, {training.WORKERS} workers. *Training* and *evaluation* "
        "are those of one worker; *evaluation* is all of its runs but training, building and writing included. "
        "*Start-up* is of `normbench run`, and a worker without work at its end.\n",
        "| batch | training | evaluation | start-up | report | all | training alone: share |",
        "|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for batch in training.STUDY_BATCHES:
        took = training.study_time(batch, training.SAMPLES, data_folder())
        seconds = took.training, took.other, took.start, took.report, took.seconds
        told = " | ".join(f"{value:.1f}" for value in seconds)
        lines.append(f"| {batch} | {told} | {took.training / took.seconds:.0%} |")
    return lines


def owner(file: str, name: str) -> str:
    """Whose code a function is, by its file as cProfile names it ("~": compiled)."""
    if file == "~":
        return "torch, compiled" if "torch" in name else "Python and others"
    return next((whose for whose, part in OWNERS if part in file), "Python and others")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, nargs="+", default=[2, 32])
    parser.add_argument("--norm", nargs="+", default=["batch", "group"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--out", type=Path, help="file to write, besides printing")
    options = parser.parse_args()
    data_folder()
    head = described()
    cells = list(product(options.norm, options.batch))
    words = " ".join(["python benchmarks/step_profile.py", *sys.argv[1:]]).partition(" --out")[0]
    lines = ["# Where the time goes\n", f"`{words}`\n", head]
    lines.append(
        "\n## A step\n\nDigit CNN, Adam, one thread of the CPU, even where there is a GPU. Microseconds of processor "
        f"time of an optimizer step, medians of {options.rounds} rounds of {options.seconds:g} s. The first four are "
        "timed in a bare loop over what normbench builds (its batches, network and optimizer); *whole* is a run as a "
        "study trains it; *rest* is the difference: Lightning's loop, hooks, curve points (below 0 where that costs "
        "less than taking batches one by one).\n"
    )
    lines.append(f"| norm | batch | {' | '.join(PARTS)} | rest | whole | rest's share |")
    lines.append(f"|---|---:|{'---:|' * (len(PARTS) + 3)}")
    configs = {cell: on_cpu(ours.keys("digit_cnn", *cell)) for cell in cells}
    for (norm, batch), config in configs.items():
        rounds = []
        for _ in range(options.rounds):
            found = parts(config, options.seconds)
            found["whole"] = whole(config, Meter(options.seconds, CLOCK))
            rounds.append(found)
        median = {name: statistics.median(found[name] for found in rounds) for name in rounds[0]}
        rest = median["whole"] - sum(median[name] for name in PARTS)
        numbers = [*(median[name] for name in PARTS), rest, median["whole"]]
        texts = " | ".join(f"{value:,.0f}" for value in numbers)
        lines.append(f"| {norm} | {batch} | {texts} | {rest / median['whole']:.0%} |")
    (norm, batch), config = next(iter(configs.items()))
    owners, functions, step = profiled(config, options.seconds)
    lines.append(
        f"\n## By function: {norm}, batch {batch}\n\ncProfile, own time. It doubles the time of Python functions "
        f"({step:,.0f} microseconds a step under it): shares, not times.\n"
    )
    total = sum(owners.values())
    lines += ["| whose code | share |", "|---|---:|"]
    lines += [f"| {whose} | {took / total:.0%} |" for whose, took in owners.items()]
    lines += ["", "| function | share | calls in 100 steps |", "|---|---:|---:|"]
    lines += [f"| `{name}` | {took / total:.1%} | {calls:,} |" for name, took, calls in functions]
    tell(lines + curve_points(options) + study_parts(), options.out)


if __name__ == "__main__":
    main()
