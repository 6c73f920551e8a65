"""Dealing out GPUs. No GPU is needed: what a worker sees is an environment variable."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from normbench.launch import gpus
from normbench.spec.schema import RunConfig, replace


def test_visible_gpus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(gpus, "DRIVER", tmp_path / "missing")
    monkeypatch.delenv(gpus.VARIABLE, raising=False)
    assert gpus.visible_gpus() == []
    for name in ("0000:01:00.0", "0000:02:00.0"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(gpus, "DRIVER", tmp_path)
    assert gpus.visible_gpus() == ["0", "1"]
    monkeypatch.setenv(gpus.VARIABLE, "3, GPU-abc")
    assert gpus.visible_gpus() == ["3", "GPU-abc"]
    monkeypatch.setenv(gpus.VARIABLE, "")
    assert gpus.visible_gpus() == []
    monkeypatch.setenv(gpus.VARIABLE, "-1")
    assert gpus.visible_gpus() == []


def test_workers_take_gpus_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(gpus.VARIABLE, "4,5")
    shared = gpus.gpus_to_share([RunConfig()])
    seen = []
    for slot in range(3):
        gpus.claim(shared, slot)
        seen.append(os.environ[gpus.VARIABLE])
    assert seen == ["4", "5", "4"]


@pytest.mark.parametrize("changes", [{"trainer.accelerator": "cpu"}, {"trainer.devices": 2}])
def test_some_runs_keep_all_gpus(changes: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(gpus.VARIABLE, "0,1")
    assert gpus.gpus_to_share([RunConfig(), replace(RunConfig(), changes)]) == []
    gpus.claim([], 1)
    assert os.environ[gpus.VARIABLE] == "0,1"
