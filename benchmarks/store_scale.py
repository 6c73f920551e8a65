"""How the store grows with its runs: time and peak memory of states, results table and curves, in fresh processes.

Fabricates run folders in a temporary folder, in the layout that training writes; nothing is planned or reported.
`python benchmarks/store_scale.py` prints a table; `--runs` and `--points` choose the size.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import tempfile
from pathlib import Path

from fresh import Measured, measure

from normbench.store.columns import CURVE_COLUMNS
from normbench.store.folder import METRICS, RESULT
from normbench.store.result import LAYOUT

NORMS, BATCHES = ("none", "batch", "layer", "instance", "group"), (2, 4, 8, 16, 32, 64, 128)

READ = f"""
import hashlib, sys, time
from normbench.store import Store
root, count, what = sys.argv[1], int(sys.argv[2]), sys.argv[3]
ids = [hashlib.sha256(str(i).encode()).hexdigest()[:16] for i in range(count)]
norms, batches = {NORMS}, {BATCHES}
store = Store(root)
if what == "states":
    found = store.states(ids)
elif what == "table":
    cells = [{{"model.norm": norm, "data.batch_size": batch}} for norm in norms for batch in batches]
    found = store.table({{name: cells[i % 5 * 7 + i % 7] for i, name in enumerate(ids)}})
elif what == "curves":
    found = store.curves(ids)
else:
    found = store.curves(ids, wanted=[("validation", "accuracy")])
print(len(found))
"""  # fmt: skip


def run_id(number: int) -> str:
    """A run's id, as scattered as real ones."""
    return hashlib.sha256(str(number).encode()).hexdigest()[:16]


def write_runs(root: Path, first: int, last: int, points: int) -> None:
    """Finished run folders with numbers `first` to `last` (exclusive), each with `points` logged rows."""
    for number in range(first, last):
        folder = root / run_id(number)
        folder.mkdir(parents=True)
        batch, norm = BATCHES[number % 7], NORMS[number % 5]
        metrics = {f"{s}_{m}": 0.97 - number % 97 / 1e4 for s in ("val", "test") for m in ("accuracy", "nll")}
        result = {
            "layout": LAYOUT,
            "run_id": folder.name,
            "config": {
                "data": {"name": "mnist", "batch_size": batch},
                "model": {"name": "digit_cnn", "norm": norm, "norm_options": {"eps": 1e-5}},
                "optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9},
                "budget": {"samples": 20000},
                "trainer": {"accelerator": "cpu", "devices": 1, "validations": 5},
                "seed": number,
            },
            "dataset": {"name": "mnist", "md5": {}},
            "metrics": {**metrics, "train_loss": 0.1},
            "diverged_at_step": None,
            "steps": 20000 // batch,
            "samples": 20000,
            "lr": 0.05,
            "parameters": 421_834,
            "devices": 1,
            "virtual_devices": 1,
            "device_batch": batch,
            "images_per_statistic": batch,
            "values_per_statistic": batch,
            "seconds": 10.0,
            "samples_per_second": 2000.0,
            "wall_seconds": 12.0,
            "code_digest": "0" * 16,
            "environment": {"git_commit": "0" * 40, "device": "cpu"},
        }
        lines = [",".join(CURVE_COLUMNS)]
        for i in range(1, points + 1):
            kind = "validation,accuracy" if i % 10 == 0 else "train,loss"
            lines.append(f"{i * 10},{i * 320},{i / 55:.4f},{i / 10:.3f},{kind},{1 / i + number % 89 / 1e3:.7g}")
        (folder / METRICS).write_text("\n".join(lines) + "\n")
        (folder / RESULT).write_text(json.dumps(result, indent=2))


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, nargs="+", default=[10_000])
    parser.add_argument("--points", type=int, default=100)
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores; every figure is a fresh process, imports included")
    print(f"{'runs':>8}  {'':<34}{'seconds':>9}{'GB':>7}")
    for count in options.runs:
        with tempfile.TemporaryDirectory() as name:
            root = Path(name)
            write_runs(root, 0, count - 10, options.points)
            steps = [("states, first", "states"), ("table, first", "table"), ("curves, first", "curves")]
            again = [(f"{what}, 10 runs later", what) for what in ("states", "table", "curves")]
            for label, what in steps:
                show(count, label, measure("-c", READ, root, count - 10, what))
            write_runs(root, count - 10, count, options.points)
            for label, what in [*again, ("curves, nothing new", "curves"), ("validation accuracies alone", "some")]:
                show(count, label, measure("-c", READ, root, count, what))


def show(count: int, label: str, measured: Measured) -> None:
    """Prints one line."""
    print(f"{count:>8,}  {label:<34}{measured.seconds:>9.2f}{measured.gigabytes:>7.2f}", flush=True)


if __name__ == "__main__":
    main()
