"""What a check tries outside its own process: a norm in two that train together, and compiled. It takes minutes."""

from __future__ import annotations

import copy
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from normbench.norms.check import Finding
from normbench.norms.measure import measure
from normbench.norms.ranks import JOB, Job, computed, part_of
from normbench.norms.response import equal
from normbench.norms.trial import Trial
from normbench.spec.registry import Entry

PATIENCE = 600.0  # seconds that two processes are given
CLOSE = 1e-6  # of compiled to ordinary values, relative, in float64


def check_outside(entry: Entry, options: Mapping[str, Any] | None = None) -> list[Finding]:
    """Two rows of a check, `two processes` and `torch.compile`; not tried, with the reason, where the machine cannot.

    Args:
        entry: The norm.
        options: Its options; what is left out takes its default.
    """
    chosen = entry.chosen(options or {}, "model.norm_options")
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            trial = Trial(entry, chosen, measure(entry, chosen))
        except Exception:  # told by the check itself
            return []
        return [two_processes(trial), compiled(trial)]


def two_processes(trial: Trial, patience: float = PATIENCE) -> Finding:
    """Whether two processes of torch's DistributedDataParallel, over gloo, compute what one process says they should.

    Outputs, gradients and running statistics are those of each half of the images where every device has its own
    statistics, and those of all images together where devices share them.
    """
    subject = "two processes"
    facts, job = trial.facts, Job.of(trial)
    if not (dist.is_available() and dist.is_gloo_available()):
        return Finding(subject, None, "not tried: this torch has no gloo")
    if isinstance(job, str):
        return Finding(subject, None, f"not tried: {job}")
    if facts.devices and facts.device_group not in (0, 2):
        return Finding(subject, None, f"not tried: its statistics are of groups of {facts.device_group} devices")
    with tempfile.TemporaryDirectory(prefix="normbench-ranks-") as root:
        folder = Path(root)
        job.write(folder / JOB)
        if wrong := _run(folder, patience):
            return Finding(subject, False, wrong)
        ranks = [torch.load(folder / f"{rank}.pt") for rank in range(2)]
    for layout in trial.layouts:
        halves = [None] if facts.devices else [0, 1]
        right = [computed(trial.net(layout), *part_of(trial, layout, half)) for half in halves]
        for key in right[0]:
            given = [rank[layout][key] for rank in ranks]
            if key in ("output", "gradient of the input"):
                same = equal(torch.cat(given), torch.cat([one[key] for one in right]))
            elif key.startswith("gradient of"):  # DistributedDataParallel averages those of all processes
                same = all(equal(one, torch.stack([half[key] for half in right]).sum(0) / 2) for one in given)
            else:
                same = equal(given[0].double(), right[0][key].double())
            if not same:
                of = "all images together" if facts.devices else "each half of the images"
                return Finding(subject, False, f"{key} is not that of {of} ({layout})")
    of = "what one does with all images" if facts.devices else "each what one does with its own images"
    return Finding(subject, True, f"they compute {of}; gradients are averaged")


def _run(folder: Path, patience: float) -> str:
    """Runs both processes; returns what went wrong, or nothing."""
    home = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join([home, *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "normbench.norms.ranks", str(folder)]
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    environ = {**os.environ, "PYTHONPATH": path}
    running = [subprocess.Popen([*command, str(rank)], env=environ, **quiet) for rank in range(2)]
    try:
        for process in running:
            process.wait(patience)
    except subprocess.TimeoutExpired:
        return f"they do not end within {patience:g} s: does one of them wait for the other?"
    finally:
        for process in running:
            process.kill()
            process.wait()
    for rank, process in enumerate(running):
        told = folder / f"{rank}.txt"
        if told.is_file():
            return told.read_text(encoding="utf-8")
        if process.returncode:
            return f"a process ends with status {process.returncode}"
    return ""


def compiled(trial: Trial) -> Finding:
    """Whether torch.compile gives the same outputs and gradients, in training and evaluation."""
    subject = "torch.compile"
    compilers = [os.environ.get("CXX", ""), "g++", "clang++", "cl"]
    if not any(shutil.which(name) for name in compilers if name):
        return Finding(subject, None, "not tried: no C++ compiler is here (g++ or clang++)")
    layout = trial.layouts[0]
    try:
        for training in (True, False):
            plain = trial.net(layout).train(training)
            fast: Any = torch.compile(copy.deepcopy(plain))
            for key, (one, other) in _both(trial, layout, plain, fast).items():
                if not torch.allclose(one, other, rtol=CLOSE, atol=CLOSE):
                    mode = "training" if training else "evaluation"
                    return Finding(subject, False, f"in {mode} it gives another {key}")
    except Exception as error:  # torch raises many kinds here
        line = (str(error).strip().splitlines() or [""])[0]
        return Finding(subject, False, f"it cannot be compiled: {type(error).__name__}: {line}")
    finally:
        torch._dynamo.reset()
    return Finding(subject, True, "the same outputs and gradients, in training and evaluation")


def _both(trial: Trial, layout: str, plain: nn.Module, fast: nn.Module) -> dict[str, tuple[Any, Any]]:
    found = []
    for net in (plain, fast):
        x = trial.input(layout).requires_grad_()
        y = net(x)
        gradient = torch.zeros_like(x)
        if y.requires_grad:
            (gradient,) = torch.autograd.grad((y * trial.input(layout, 4)).sum(), x)
        found.append((y.detach(), gradient))
    return {key: (found[0][at], found[1][at]) for at, key in enumerate(("output", "gradient"))}
