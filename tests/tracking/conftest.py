"""A W&B server on loopback, a key that must never be seen, and small runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb

from normbench.spec.schema import RunConfig, replace
from normbench.store.folder import METRICS
from normbench.tracking import session
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


def small(**changes: Any) -> RunConfig:
    """A run of 24 steps; keywords are dotted keys."""
    return replace(replace(RunConfig(), SMALL), changes)


def without_empty(tree: dict[str, Any]) -> dict[str, Any]:
    """A configuration as the W&B client sends it: without mappings that hold nothing."""
    return {key: without_empty(v) if isinstance(v, dict) else v for key, v in tree.items() if v != {}}


def expected_rows(folder: Path) -> list[Point]:
    """The rows that W&B must have of a run folder, with their steps."""
    lines = (folder / METRICS).read_text(encoding="utf-8").splitlines()
    return [{**point, "_step": step} for step, point in enumerate(points(lines))]


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
    wandb.teardown()  # it reads its environment once
    session._said.clear()
    session._refused.clear()
    yield
    for path in tmp_path.rglob("*"):
        if path.is_file() and path.name != ".netrc":
            assert KEY.encode() not in path.read_bytes(), f"the API key is in {path}"


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
