"""Golden runs: every loss and metric of short runs, to every digit, so that a refactoring proves itself.

    python benchmarks/golden.py check [NAME ...]    run and compare with tests/golden/runs.json
    python benchmarks/golden.py renew NAME ...      replace the numbers of these runs, on purpose
    python benchmarks/golden.py REV                 run this tree and commit REV, and compare the two

The runs use code for x86 processors of 2013 (AVX2) in every library, so that newer processors give the same digits.
"""

from __future__ import annotations

import argparse
import csv
import fnmatch
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RECORDED = ROOT / "tests" / "golden" / "runs.json"

# Read by the libraries when they are loaded, so every run happens in a fresh process with these.
PORTABLE = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "DNNL_MAX_CPU_ISA": "AVX2",
    "MKL_CBWR": "COMPATIBLE",
    "OMP_NUM_THREADS": "1",
    "NORMBENCH_WANDB": "off",
    "GLOO_SOCKET_IFNAME": "lo",
}

NORMS = ("none", "batch", "sync_batch", "ghost", "layer", "instance", "group")
MODELS = ("digit_cnn", "mlp")
STEPS = 8
SHORT = {
    "data.name": "mnist_5k",
    "data.train_samples": 512,
    "data.batch_size": 32,
    "budget.steps": STEPS,
    "trainer.accelerator": "cpu",
    "trainer.validations": 2,
    "trainer.loss_points": STEPS,
    "trainer.checkpoints": 4,
}
WAYS: dict[str, dict[str, Any]] = {
    "single": {},
    "processes": {"trainer.devices": 2},
    "virtual": {"trainer.virtual_devices": 4},
    "accumulated": {"trainer.accumulate_grad_batches": 2},
    "dropout": {"model.dropout": 0.5},
    "resumed": {},
}
# A norm that trains with what earlier batches left.
REMEMBERING = [f"online_norm/{case}" for case in ("digit_cnn/single", "digit_cnn/resumed", "mlp/single", "mlp/virtual")]
RESUME_AT = 5  # the run is broken off here; its checkpoint is of step 4
OPTIMIZERS = {
    "adam": {"optimizer.name": "adam", "optimizer.lr": 0.001, "optimizer.schedule": "cosine"},
    "adamw": {"optimizer.name": "adamw", "optimizer.lr": 0.001, "optimizer.weight_decay": 0.1}
    | {"optimizer.decay_norms": True},
    "warmup": {"optimizer.warmup_steps": 4, "optimizer.schedule": "step", "optimizer.lr_scaling": "linear"},
}


def cases() -> dict[str, dict[str, Any]]:
    """Dotted keys of every golden run, by name: `batch/digit_cnn/single`."""
    found: dict[str, dict[str, Any]] = {}
    for model in MODELS:
        for norm in NORMS:
            if (norm, model) == ("instance", "mlp"):
                continue  # nothing to average
            keys = {**SHORT, "model.name": model, "model.norm": norm}
            if norm == "ghost":
                keys["model.norm_options"] = {"size": 4}
            for way, changes in WAYS.items():
                if way == "virtual" and norm == "ghost":
                    continue  # a ghost batch is a part of a device's batch already
                found[f"{norm}/{model}/{way}"] = {**keys, **changes}
    for case in REMEMBERING:
        norm, model, way = case.split("/")
        found[case] = {**SHORT, "model.name": model, "model.norm": norm, **WAYS[way]}
    for name, changes in OPTIMIZERS.items():
        found[f"batch/mlp/{name}"] = {**SHORT, "model.name": "mlp", "model.norm": "batch", **changes}
    return found


def numbers(name: str, keys: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Trains one run in this process and returns its numbers: the curve points and the final metrics."""
    try:
        from normbench.spec import run_config

        config = run_config(keys)
    except ImportError:  # version 0.1
        from normbench.config import RunConfig, replace

        config = replace(RunConfig(), keys)
    from normbench.launch.ranks import execute

    if name.endswith("/resumed"):

        def broken(step: int) -> None:
            if step == RESUME_AT:
                raise InterruptedError

        try:
            execute(config, folder, broken)
        except InterruptedError:
            pass
        else:
            raise AssertionError(f"{name} was not broken off")
    result = execute(config, folder)
    with (folder / "metrics.csv").open(newline="", encoding="utf-8") as file:
        points = [[int(p["step"]), p["split"], p["metric"], p["value"]] for p in csv.DictReader(file)]
    return {"metrics": {key: repr(value) for key, value in result["metrics"].items()}, "points": points}


def run_all(root: Path, names: Iterable[str]) -> dict[str, Any]:
    """The numbers of the runs `names`, computed by the code in `root` in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out.json")
        environment = {**os.environ, **PORTABLE, "PYTHONPATH": str(root)}
        command = [sys.executable, str(Path(__file__).resolve()), "--compute", str(out), *names]
        subprocess.run(command, check=True, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
        numbers: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
        return numbers


def compute(out: Path, names: Iterable[str]) -> None:
    """Writes the numbers of the runs `names` to `out`. Called in a process with PORTABLE in its environment."""
    known, found = cases(), {}
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            from normbench.errors import NormbenchError

            try:
                # The folder's name must be the run's id where the code checks that.
                found[name] = numbers(name, known[name], Path(folder, run_name(known[name])))
            except NormbenchError as error:
                found[name] = {"error": str(error)}
    out.write_text(json.dumps(found), encoding="utf-8")


def run_name(keys: Mapping[str, Any]) -> str:
    """Name of the run's folder: its id."""
    try:
        from normbench.spec import resolve, run_config, run_id

        return run_id(resolve(run_config(keys)))
    except ImportError:  # version 0.1
        return "run"


def differences(one: Mapping[str, Any], two: Mapping[str, Any]) -> list[str]:
    """A line for each run whose numbers differ, with the first that does."""
    lines = []
    for name in one:
        if name not in two:
            lines.append(f"{name}: only on one side")
            continue
        a, b = one[name], two[name]
        if a == b:
            continue
        if "error" in a or "error" in b:
            lines.append(f"{name}: {a.get('error', 'trains')} | {b.get('error', 'trains')}")
            continue
        pairs = zip(a["points"], b["points"], strict=False)
        first = next(((p, q) for p, q in pairs if p != q), (a["metrics"], b["metrics"]))
        lines.append(f"{name}: {first[0]} | {first[1]}")
    return lines


def fingerprint() -> dict[str, str]:
    """What the last digits depend on besides our code."""
    from importlib.metadata import version
    from platform import machine

    return {"machine": machine(), **{name: version(name) for name in ("torch", "lightning")}}


def checkout(revision: str, folder: Path) -> None:
    """The files of a commit, in `folder`."""
    archive = subprocess.run(["git", "-C", str(ROOT), "archive", revision], check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x", "-C", str(folder)], check=True, input=archive)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--compute", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("what", metavar="check|renew|REV")
    parser.add_argument("names", nargs="*", help="runs, shell patterns allowed (default: all)")
    if "--compute" in sys.argv:
        compute(Path(sys.argv[2]), sys.argv[3:])
        return 0
    options = parser.parse_args()
    chosen = [n for n in cases() if not options.names or any(fnmatch.fnmatch(n, p) for p in options.names)]
    recorded = json.loads(RECORDED.read_text(encoding="utf-8")) if RECORDED.exists() else {"runs": {}}
    found = run_all(ROOT, chosen)
    if options.what == "renew":
        if not options.names:
            parser.error("name the runs to renew")
        recorded = {"made with": fingerprint(), "runs": {**recorded["runs"], **found}}
        recorded["runs"] = {name: recorded["runs"][name] for name in cases() if name in recorded["runs"]}
        lines = [f" {json.dumps(name)}: {json.dumps(run)}" for name, run in recorded["runs"].items()]
        RECORDED.write_text(
            f'{{"made with": {json.dumps(recorded["made with"])},\n"runs": {{\n' + ",\n".join(lines) + "\n}}\n",
            encoding="utf-8",
        )
        print(f"{len(found)} runs renewed in {RECORDED}")
        return 0
    if options.what == "check":
        told, other = differences({n: recorded["runs"].get(n) for n in chosen}, found), "recorded | here"
    else:
        with tempfile.TemporaryDirectory() as folder:
            checkout(options.what, Path(folder))
            told, other = differences(run_all(Path(folder), chosen), found), f"{options.what} | here"
    print(f"{len(chosen) - len(told)} of {len(chosen)} runs agree to every digit" + (f"; {other}:" if told else ""))
    print("\n".join(told))
    return 1 if told else 0


if __name__ == "__main__":
    sys.exit(main())
