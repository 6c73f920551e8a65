"""`normbench status --live`."""

from __future__ import annotations

import io
import math
import threading
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from normbench.cli.live import sparkline, watch
from normbench.store.folder import METRICS, RESULT, claimed
from normbench.study import Plan, load_study, make_plan
from tests.tracking.test_points import TEXT


def test_a_sparkline() -> None:
    assert sparkline([]) == ""
    assert sparkline([1.0]) == "▁"
    assert sparkline([0, 1, 2, 7]) == "▁▂▃█"
    assert sparkline([0, math.nan, 1]) == "▁×█"
    assert len(sparkline(list(range(1000)), 40)) == 40


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """A study of two runs."""
    tree = {
        "name": "live",
        "question": "How far?",
        "base": {"data": {"name": "mnist_5k"}, "budget": {"steps": 20}},
        "grid": {"model.norm": ["none", "batch"]},
        "seeds": 1,
        "compare": {"factor": "model.norm", "baseline": "none"},
    }
    path = tmp_path / "live.yaml"
    path.write_text(yaml.safe_dump(tree))
    return make_plan(load_study(path))


def test_a_running_run_is_shown_from_its_files(plan: Plan, tmp_path: Path) -> None:
    first = tmp_path / "runs" / plan.runs[0].id
    out = io.StringIO()
    with claimed(first):
        (first / METRICS).write_text(TEXT, newline="")
        watch(plan, first.parent, Console(file=out, width=140))
    text = out.getvalue()
    assert "live: 1 running, 1 waiting" in text
    assert "4/20" in text
    assert "▁×" in text
    assert "50.00 %" in text


def test_it_ends_when_nothing_is_left(plan: Plan, tmp_path: Path) -> None:
    out = io.StringIO()
    console = Console(file=out, width=140, force_terminal=True)
    watcher = threading.Thread(target=watch, args=(plan, tmp_path / "runs", console, 0.02))
    watcher.start()
    for run in plan.runs:
        folder = tmp_path / "runs" / run.id
        folder.mkdir(parents=True)
        (folder / RESULT).write_text("{}")
    watcher.join(10)
    assert not watcher.is_alive()
    assert "2 done" in out.getvalue()
