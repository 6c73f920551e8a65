"""How the report grows with the study: time and peak memory of `normbench report`, and of the results table alone.

Fabricates run folders in a temporary folder, in the layout that training writes, and reads them in fresh processes.
`python benchmarks/report_scale.py` prints what is committed as report_scale.txt; with `--seeds 1 --large-seeds 0
--table-seeds 1` it is done in a minute.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from fresh import Measured, measure
from machine import described

from normbench.report.files import DRAWN
from normbench.spec import to_dict
from normbench.spec.counts import device_batch, devices, images_per_statistic, steps, values_per_statistic
from normbench.store import LAYOUT
from normbench.store.columns import CURVE_COLUMNS
from normbench.store.folder import METRICS, RESULT
from normbench.study import PlannedRun, load_study, make_plan

POINTS = 100
VALIDATIONS = 5
TARGET_SECONDS, TARGET_GB = 10, 1
TARGET_AGAIN, TARGET_LARGE = 3, 120  # seconds: ten runs later; for ten times the runs

STUDY = """
name: {name}
question: How does the report grow?
base: {{data: {{name: mnist}}, budget: {{samples: 20000}}, trainer: {{validations: {validations}}}}}
grid:
  model.norm: [none, batch, layer, instance, group]
  data.batch_size: {batches}
  {axis}: {values}
seeds: {seeds}
compare: {{factor: model.norm, baseline: batch, across: {across}{tuned}}}
"""
BATCHES = [2, 3, 4, 5, 6, 8, 10, 12, 14, 16, 20, 24, 32, 40, 48, 64, 80, 96, 128, 160]
RATES = [round(0.001 * 2**i, 6) for i in range(10)]

TABLE = """
import sys
from pathlib import Path
from normbench.report import gather
print(len(gather(sys.argv[1], Path(sys.argv[2])).runs))
"""


# The parts of a report, one after the other in a fresh process; a line each: seconds, name.
PARTS = """
import sys, time

start = time.perf_counter()


def lap(name):
    global start
    now = time.perf_counter()
    print(now - start, name)
    start = now


import normbench.report.files, normbench.report.page.html, normbench.report.tables
from pathlib import Path
from normbench.report import gather, write_figures, write_tables
from normbench.report.figures import drawn_figures
from normbench.report.page.html import write_html

lap("imports: pandas, SciPy, Altair and the rest")
folder = Path(sys.argv[3]) / sys.argv[4]
evidence = gather(sys.argv[1], sys.argv[2])
lap("plan, and results table")
evidence.estimates
lap("differences, intervals and verdicts of the study's metric")
evidence.comparison
lap("summaries, marks, and intervals of the other metrics")
evidence.curves
lap("curves: a million points")
drawn_figures(evidence)
lap("figures, as Vega-Lite")
write_figures(evidence, folder)
lap("figures: drawing, which a report does beside what follows")
write_tables(evidence, folder)
lap("tables: CSV, Markdown, LaTeX")
write_html(evidence, folder)
lap("page")
"""


def write_study(folder: Path, name: str, seeds: int, tuned: bool) -> Path:
    """A study of 5 norms x 20 batch sizes x 10 values x `seeds`; the last axis is tuned or compared at each value."""
    axis, values = ("optimizer.lr", RATES) if tuned else ("model.dropout", [round(0.05 * i, 2) for i in range(10)])
    across, chosen = (
        ("[data.batch_size]", ", tuned: optimizer.lr") if tuned else ("[model.dropout, data.batch_size]", "")
    )
    path = folder / f"{name}.yaml"
    text = STUDY.format(
        name=name,
        validations=VALIDATIONS,
        batches=BATCHES,
        axis=axis,
        values=values,
        seeds=seeds,
        across=across,
        tuned=chosen,
    )
    path.write_text(text)
    return path


def write_runs(folder: Path, planned: Iterable[PlannedRun], points: int = POINTS) -> None:
    """A finished run folder for each planned run; `points` logged rows in metrics.csv, or no such file for 0."""
    rng = np.random.default_rng(0)
    for run in planned:
        target = folder / run.id
        target.mkdir(parents=True, exist_ok=True)  # two studies can share a run
        accuracy, loss = 0.97 + 0.002 * rng.standard_normal(), float(np.exp(rng.normal(-2, 0.1)))
        config, total = run.config, steps(run.config)
        metrics = {f"{split}_accuracy": accuracy for split in ("val", "test")}
        metrics |= {f"{split}_{name}": loss / 9 for split in ("val", "test") for name in ("nll", "calibration_error")}
        result = {
            "layout": LAYOUT,
            "run_id": run.id,
            "config": to_dict(config),
            "dataset": {"name": config.data.name, "md5": {}},
            "metrics": {**metrics, "train_loss": loss},
            "diverged_at_step": None,
            "steps": total,
            "samples": total * config.data.batch_size,
            "lr": config.optimizer.lr,
            "parameters": 421_834,
            "devices": devices(config),
            "virtual_devices": 1,
            "device_batch": device_batch(config),
            "images_per_statistic": images_per_statistic(config),
            "values_per_statistic": values_per_statistic(config),
            "code_digest": "0" * 16,
            "seconds": 10.0,
            "samples_per_second": 2000.0,
            "wall_seconds": 12.0,
            "environment": {"commit": "0" * 40, "device": "cpu"},
        }
        if points:
            (target / METRICS).write_text(curve(total, config.data.batch_size, loss, points))
        (target / RESULT).write_text(json.dumps(result, indent=2))


def curve(total: int, batch: int, loss: float, points: int) -> str:
    """metrics.csv of a run: training losses, then validation accuracies and losses."""
    lines = [",".join(CURVE_COLUMNS)]
    for count, split, name, end in (
        (points - 2 * VALIDATIONS, "train", "loss", loss),
        (VALIDATIONS, "validation", "accuracy", 0.97),
        (VALIDATIONS, "validation", "nll", loss),
    ):
        for i in range(1, count + 1):
            step = total * i // count
            value = end * (count / i if name != "accuracy" else i / count)
            lines.append(
                f"{step},{step * batch},{step * batch / 55000:.4f},{10 * i / count:.3f},{split},{name},{value:.7g}"
            )
    return "\n".join(lines) + "\n"


def measure_report(folder: Path, tuned: bool, seeds: int) -> list[tuple[str, Measured]]:
    """A report of a study of 1,000 x `seeds` runs; one after ten runs more; and one of its tables alone."""
    name = "tuned" if tuned else "compared"
    folder.mkdir(exist_ok=True)
    study = write_study(folder, name, seeds, tuned)
    planned = make_plan(load_study(study), fallback=False).runs
    write_runs(folder / "runs", planned[:-10])
    places = (study, "--runs", folder / "runs", "--reports", folder / "reports")
    count = f"{len(planned):,} runs x {POINTS} points, one axis {name}"
    first = measure("-m", "normbench", "report", *places)
    write_runs(folder / "runs", planned[-10:])
    again = measure("-m", "normbench", "report", *places)
    size = (folder / "reports" / name / "report.html").stat().st_size / 1e6
    return [(f"report, {count} ({size:.1f} MB)", first), ("  again, 10 runs later", again)]


def measure_parts(folder: Path) -> list[str]:
    """Where the time of a report goes whose runs have all been read before, and whose figures have changed."""
    study, places = folder / "compared.yaml", (folder / "runs", folder / "reports")
    shutil.rmtree(folder / "runs" / DRAWN)
    command = [sys.executable, "-c", PARTS, *map(str, (study, *places)), "compared"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    parts = [(float(seconds), name) for seconds, _, name in (line.partition(" ") for line in printed.splitlines())]
    whole = sum(seconds for seconds, _ in parts)
    return [f"{name:<58}{seconds:>9.2f}{seconds / whole:>7.0%}" for seconds, name in parts] + [f"{'':<58}{whole:>9.2f}"]


def measure_table(folder: Path, seeds: int) -> list[tuple[str, Measured]]:
    """The results table of 1,000 x `seeds` runs: from result.json, and from the index with ten new runs."""
    name = f"table_{seeds}"
    study = write_study(folder, name, seeds, tuned=True)
    planned = make_plan(load_study(study), fallback=False).runs
    runs = folder / f"runs_{name}"  # of its own: the index knows nothing of them
    write_runs(runs, planned[:-10], points=0)
    first = measure("-c", TABLE, study, runs)
    write_runs(runs, planned[-10:], points=0)
    again = measure("-c", TABLE, study, runs)
    return [(f"results table, {len(planned):,} runs", first), ("  again, 10 runs later", again)]


def main() -> None:
    """Measures, prints, and tells whether the targets hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10, help="thousands of runs of a report (default: 10)")
    parser.add_argument(
        "--large-seeds", type=int, default=100, help="thousands of runs of a larger report (default: 100; 0: none)"
    )
    parser.add_argument("--table-seeds", type=int, nargs="+", default=[10, 100], help="thousands of runs of a table")
    options = parser.parse_args()
    print(f"{described()}\n\nEvery line is a fresh process, imports included.")
    print(f"{'':<58}{'seconds':>9}{'GB':>7}")
    reports: list[list[Measured]] = []
    large: list[Measured] = []
    tables: list[list[Measured]] = []
    with tempfile.TemporaryDirectory() as name:
        for tuned in (True, False):
            lines = measure_report(Path(name), tuned, options.seeds)
            reports.append([measured for _, measured in lines])
            show(lines)
        parts = measure_parts(Path(name))
        if options.large_seeds:
            lines = measure_report(Path(name) / "large", True, options.large_seeds)
            large = [measured for _, measured in lines]
            show(lines)
        for seeds in options.table_seeds:
            lines = measure_table(Path(name), seeds)
            tables.append([measured for _, measured in lines])
            show(lines)
    slowest, largest = max(m.seconds for m, _ in reports), max(m.gigabytes for both in reports for m in both)
    verdict = "met" if slowest < TARGET_SECONDS and largest < TARGET_GB else "MISSED"
    print(f"target: a report in {TARGET_SECONDS} s and {TARGET_GB} GB: {verdict} ({slowest:.1f} s, {largest:.2f} GB)")
    slowest = max(m.seconds for _, m in reports)
    verdict = "met" if slowest < TARGET_AGAIN else "MISSED"
    print(f"target: again, 10 runs later, in {TARGET_AGAIN} s: {verdict} ({slowest:.1f} s)")
    if large:
        print(larger(large, reports[0]))
    if len(tables) > 1:
        more = options.table_seeds[-1] / options.table_seeds[0]
        first, again = (tables[-1][i].seconds / tables[0][i].seconds for i in (0, 1))
        print(f"{more:g} times the runs take {first:.1f} times the time, read again {again:.1f} times")
        print(f"read again takes {tables[-1][1].seconds / tables[-1][0].seconds:.2f} of the first reading")
    print("\nWhere a report's time goes, all cells compared, all read before, part by part in one process:")
    print("\n".join(parts))


def larger(large: Iterable[Measured], small: Iterable[Measured]) -> str:
    """Whether a larger report holds its target, and its memory by that of a smaller one of the same kind of study."""
    slowest = max(m.seconds for m in large)
    most, least = (max(m.gigabytes for m in reports) for reports in (large, small))
    verdict = "met" if slowest < TARGET_LARGE else "MISSED"
    return (
        f"target: the larger report in {TARGET_LARGE} s: {verdict} ({slowest:.1f} s, {most / least:.1f} x the GB of "
        "the smaller one with one axis tuned)"
    )


def show(lines: list[tuple[str, Measured]]) -> None:
    """Prints measurements as rows of the table."""
    for text, measured in lines:
        print(f"{text:<58}{measured.seconds:>9.1f}{measured.gigabytes:>7.2f}", flush=True)


if __name__ == "__main__":
    main()
