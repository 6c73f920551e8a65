"""A W&B server on loopback, a key that must never be seen, and small runs, trained or made up."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from normbench.spec import RunConfig, resolve, run_config, run_id, steps, to_dict
from normbench.store import Store
from normbench.store.folder import METRICS, RunFolder
from normbench.tracking import client, session
from normbench.tracking.points import Point, points
from tests.tracking.fake_server import FakeWandb

KEY = "f00dmarkerf00d" + "0123456789abcdef" * 2  # looks like a key, and is nowhere else

SMALL: dict[str, Any] = {
    "data.name": "mnist_5k",
    "data.train_samples": 512,
    "data.batch_size": 32,
    "model.name": "mlp",
    "model.norm": "layer",
    "model.hidden": [16],
    "budget.steps": 24,
    "trainer.accelerator": "cpu",
    "trainer.validations": 2,
    "trainer.loss_points": 6,
    "logger.finish_seconds": 20.0,
}

CURVES = (
    "step,samples,epoch,seconds,split,metric,value\r\n"
    "4,128,0.2500,0.010,train,loss,2.25\r\n"
    "8,256,0.5000,0.020,train,loss,1\r\n"
    "8,256,0.5000,0.020,validation,accuracy,0.5\r\n"
    "8,256,0.5000,0.020,validation,nll,1.5\r\n"
    "8,256,0.5000,0.020,test,accuracy,0.4\r\n"
)


def small(**changes: Any) -> RunConfig:
    """A resolved run of 24 steps; keywords are dotted keys."""
    return resolve(run_config(SMALL | changes))


def study_tree(name: str = "far", **changes: Any) -> dict[str, Any]:
    """A study of small runs as its file has it: two norms, one of which diverges, two seeds."""
    base: dict[str, dict[str, object]] = {}
    for key, value in SMALL.items():
        section, option = key.split(".")
        if key != "model.norm":
            base.setdefault(section, {})[option] = value
    return {
        "name": name,
        "question": "Does it come back?",
        "base": base,
        "grid": {"case": {"sane": {"model.norm": "layer"}, "mad": {"model.norm": "none", "optimizer.lr": 1e30}}},
        "seeds": 2,
        "compare": {"factor": "case", "baseline": "sane"},
        **changes,
    }


def train_mirrored(
    config: RunConfig,
    root: Path,
    progress: Callable[[int], None] | None = None,
    study: str | None = None,
    cell: Mapping[str, Any] | None = None,
) -> tuple[RunFolder, dict[str, Any]]:
    """Trains a resolved run with a mirror, as a worker does; gives its folder and its result."""
    from normbench.tracking.mirror import Mirror
    from normbench.train.run import train

    folder = root / run_id(config)
    with Mirror(config, folder, steps(config), study, cell) as mirror:
        mirror.result = result = train(config, folder, progress, mirror.callbacks)
    return RunFolder(folder), result


def made_up(store: Store, config: RunConfig, finished: bool = True, curves: str = CURVES, **changes: Any) -> RunFolder:
    """A run folder as training leaves it, in a thousandth of the time.

    Args:
        store: Where it goes.
        config: The resolved run.
        finished: With a result.
        curves: Its metrics.csv.
        changes: What its result says otherwise.
    """
    folder = store.folder(run_id(config))
    folder.write_config(to_dict(config))
    folder.metrics_path.write_text(curves, newline="")
    if finished:
        result = {
            "config": to_dict(config),
            "dataset": {"name": config.data.name, "train": 512, "md5": {}},
            "metrics": {"test_accuracy": 0.4, "val_accuracy": 0.5, "train_loss": 1.0},
            "diverged_at_step": None,
            "steps": 8,
            "samples": 256,
            "epochs": 1.0,
            "lr": 1.0,
            "parameters": 12_730,
            "devices": 1,
            "virtual_devices": 1,
            "device_batch": 32,
            "images_per_statistic": 1,
            "seconds": 2.0,
            "samples_per_second": 128.0,
            "wall_seconds": 3.5,
            "environment": {"device": "cpu", "git_commit": None, "precision": "32-true"},
            **changes,
        }
        folder.write_result(result)
    return folder


def read_result(folder: RunFolder) -> dict[str, Any]:
    """What result.json holds, as a W&B summary shows it at best: without keys that are None."""
    result: dict[str, Any] = json.loads(folder.result_path.read_text(encoding="utf-8"))
    return result


def without_empty(tree: dict[str, Any]) -> dict[str, Any]:
    """A configuration as the W&B client sends it: without mappings that hold nothing."""
    return {key: without_empty(v) if isinstance(v, dict) else v for key, v in tree.items() if v != {}}


def expected_rows(folder: RunFolder) -> list[Point]:
    """The rows that W&B must have of a run folder, with their steps."""
    lines = (folder.path / METRICS).read_text(encoding="utf-8").splitlines()
    return [{**point, "_step": step} for step, point in enumerate(points(lines))]


def comparable(rows: list[Point]) -> list[dict[str, str]]:
    """Rows that equal others where those have the same numbers, NaN among them."""
    return [{key: str(float(value)) for key, value in sorted(row.items())} for row in rows]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store(tmp_path / "runs")


@pytest.fixture(autouse=True)
def _own_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A home without keys, and a W&B address where nothing answers. The key reaches no file that a run leaves."""
    home = tmp_path / "home"
    home.mkdir()
    for name in ("NORMBENCH_WANDB", "WANDB_MODE", "WANDB_API_KEY", "WANDB_ENTITY", "WANDB_PROJECT", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(home / "config"))
    monkeypatch.setenv("WANDB_CACHE_DIR", str(home / "cache"))
    monkeypatch.setenv("WANDB_DATA_DIR", str(home / "data"))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    forget_wandb()
    client._said.clear()
    session._refused.clear()
    yield
    for path in tmp_path.rglob("*"):
        if path.is_file() and path.name != ".netrc":
            assert KEY.encode() not in path.read_bytes(), f"the API key is in {path}"


def forget_wandb() -> None:
    """Lets wandb read its environment again, which it does once; it is not imported for that."""
    if "wandb" in sys.modules:
        sys.modules["wandb"].teardown()


@pytest.fixture
def start_fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., FakeWandb]]:
    """Starts a server and points W&B at it, with the key at hand."""
    fakes: list[FakeWandb] = []

    def start(**options: Any) -> FakeWandb:
        fake = FakeWandb(**{"key": KEY} | options).__enter__()
        fakes.append(fake)
        monkeypatch.setenv("WANDB_BASE_URL", fake.url)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        return fake

    yield start
    for fake in fakes:
        fake.die()
        assert fake.errors == []
        assert fake.unknown == []


@pytest.fixture
def fake(start_fake: Callable[..., FakeWandb]) -> FakeWandb:
    """A server that lets the key in."""
    return start_fake()
