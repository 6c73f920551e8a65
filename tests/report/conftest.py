"""Studies whose runs are written, not trained: the reporting code reads files, and known numbers can be checked."""

import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from normbench.report import Evidence, gather, write_report
from normbench.spec import to_dict, yaml_text
from normbench.spec.counts import device_batch, devices, images_per_statistic, steps, values_per_statistic
from normbench.store import RunFolder
from normbench.store.columns import CURVE_COLUMNS
from normbench.study import PlannedRun, load_study, make_plan

# What a run gave: its test accuracy, "diverged", "failed", or None where it was not run.
Outcome = float | str | None
Outcomes = Callable[[Mapping[str, Any], int], Outcome]
NOISE = (0.0, 0.002, -0.001, 0.001, -0.002, 0.003, -0.003, 0.0015, -0.0015, 0.0005)


@dataclass(frozen=True)
class Lab:
    """A study with its folders."""

    study: Path
    runs: Path
    reports: Path

    @property
    def name(self) -> str:
        return self.study.stem

    @property
    def report(self) -> Path:
        """Folder of its report."""
        return self.reports / self.name

    def planned(self, fallback: bool = False) -> list[PlannedRun]:
        return make_plan(load_study(self.study), fallback).runs

    def evidence(self) -> Evidence:
        return gather(self.study, self.runs)

    def write(self, *parts: str) -> list[Path]:
        """Writes the report, or the parts that are named."""
        return write_report(self.study, self.runs, self.reports, *([parts] if parts else []))


MakeLab = Callable[..., Lab]


def write_run(root: Path, run: PlannedRun, outcome: Outcome) -> None:
    """The folder of a run, as training leaves it."""
    if outcome is None:
        return
    folder = RunFolder(root / run.id)
    with folder.claim():
        folder.write_config(to_dict(run.config))
    if outcome in ("failed", "interrupted"):
        if outcome == "failed":
            folder.write_error("Traceback\nRunFolderError: no space left in /home/ada/runs/x\n")
        return
    diverged = isinstance(outcome, str)
    accuracy = 0.1 if isinstance(outcome, str) else outcome
    total, loss = steps(run.config), 2 * (1 - accuracy)
    metrics = {
        "val_accuracy": accuracy - 0.01,
        "val_nll": loss + 0.1,
        "val_calibration_error": 0.02,
        "test_accuracy": accuracy,
        "test_nll": loss,
        "test_calibration_error": 0.01,
        "train_loss": loss / 2,
    }
    result = {
        "config": to_dict(run.config),
        "dataset": {"name": run.config.data.name, "md5": {"images": "6bbc9ace"}},
        "metrics": dict.fromkeys(metrics) if diverged else metrics,
        "diverged_at_step": 7 if diverged else None,
        "steps": total,
        "samples": total * run.config.data.batch_size,
        "lr": run.config.optimizer.lr,
        "parameters": 421_000 + len(str(run.config.model.norm)),
        "devices": devices(run.config),
        "virtual_devices": run.config.trainer.virtual_devices,
        "device_batch": device_batch(run.config),
        "images_per_statistic": images_per_statistic(run.config),
        "values_per_statistic": values_per_statistic(run.config),
        "code_digest": "0123456789abcdef",
        "seconds": 10.0 + run.seed,
        "samples_per_second": 2000.0,
        "wall_seconds": 12.0,
        "environment": {"commit": "c0ffee", "device": "cpu", "torch": "2.6.0", "hostname": "ada-pc"},
    }
    lines = [",".join(CURVE_COLUMNS)]
    for i in range(1, 9):
        step = max(1, total * i // 8)
        value = math.nan if diverged else loss * 8 / i
        lines.append(f"{step},{step * run.config.data.batch_size},{i / 8},{i}.0,train,loss,{value:.7g}")
        if i % 4 == 0:
            lines.append(
                f"{step},{step * run.config.data.batch_size},{i / 8},{i}.0,validation,accuracy,{accuracy * i / 8}"
            )
    folder.metrics_path.write_text("\n".join(lines) + "\n")
    folder.write_result(result)


@pytest.fixture
def make_lab(tmp_path: Path) -> MakeLab:
    """Writes a study and a run folder for each planned run whose outcome is not None."""

    def make(
        outcomes: Outcomes,
        grid: Mapping[str, Any] | None = None,
        compare: Mapping[str, Any] | list[dict[str, Any]] | None = None,
        *,
        seeds: Any = 3,
        name: str = "synthetic",
        fallback: bool = False,
        **more: Any,
    ) -> Lab:
        return build(tmp_path, outcomes, grid, compare, seeds=seeds, name=name, fallback=fallback, **more)

    return make


def build(
    root: Path,
    outcomes: Outcomes,
    grid: Mapping[str, Any] | None = None,
    compare: Mapping[str, Any] | list[dict[str, Any]] | None = None,
    *,
    seeds: Any = 3,
    name: str = "synthetic",
    fallback: bool = False,
    **more: Any,
) -> Lab:
    """See `make_lab`."""
    grid = grid or {"model.norm": ["none", "batch", "group"], "data.batch_size": [8, 32]}
    if not isinstance(compare, list):
        compare = {"factor": "model.norm", "baseline": "batch"} | dict(compare or {})
    base = {"data": {"name": "mnist"}, "budget": {"samples": 640}, "trainer": {"validations": 2}}
    tree = {"name": name, "question": "Which norm?", "base": base, "grid": dict(grid), "seeds": seeds}
    path = root / f"{name}.yaml"
    path.write_text(yaml_text(tree | {"compare": compare} | more))
    lab = Lab(path, root / "runs", root / "reports")
    for run in lab.planned(fallback):
        write_run(lab.runs, run, outcomes(run.cell, run.seed))
    return lab


def typical(cell: Mapping[str, Any], seed: int) -> Outcome:
    """none far below batch at both sizes, group within the noise of it; one run of none diverged."""
    if cell["model.norm"] == "none" and cell["data.batch_size"] == 32 and seed == 2:
        return "diverged"
    level = {"none": 0.90, "batch": 0.97, "group": 0.968}[cell["model.norm"]]
    own = {"none": 0.0002, "batch": 0.0, "group": 0.004}[cell["model.norm"]]
    return level + NOISE[seed] + own * (-1) ** seed


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """The typical study with its report on disk, for tests that only read it."""
    lab = build(tmp_path_factory.mktemp("written"), typical)
    lab.write()
    return lab


@pytest.fixture
def typical_lab(written: Lab, tmp_path: Path) -> Lab:
    """A copy of the typical study, for tests that change it."""
    shutil.copytree(written.study.parent, tmp_path / "lab")
    return Lab(tmp_path / "lab" / written.study.name, tmp_path / "lab" / "runs", tmp_path / "lab" / "reports")


NASTY = "<script>alert(1)</script> & \"q\" 'p' | a_b 50% $x^2 {y} ~ # \\z *b* `c`"


@pytest.fixture(scope="session")
def nasty(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """A study whose question and labels are as hostile to HTML, LaTeX, Markdown and JavaScript as names can be."""
    labels = {
        "plain_1": {"model.norm": "none"},
        NASTY: {"model.norm": "batch"},
        "</script><img src=x onerror=alert(2)>": {"model.norm": "group"},
    }
    sizes = {"8 | <b>": {"data.batch_size": 8}, "32 & %": {"data.batch_size": 32}}
    lab = build(
        tmp_path_factory.mktemp("nasty"),
        lambda cell, seed: 0.9 + NOISE[seed] + len(cell["kind"]) / 10_000,
        {"kind": labels, "size": sizes},
        {"factor": "kind", "baseline": NASTY},
        name="nasty_name",
        question=f"Is {NASTY} safe?",
        notes=f"Note {NASTY}",
    )
    lab.write()
    return lab
