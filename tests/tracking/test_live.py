"""`normbench status --live`."""

from __future__ import annotations

import io
import math
import threading
from pathlib import Path

import pytest
from rich.console import Console

from normbench.cli.live import sparkline, watch
from normbench.spec import yaml_text
from normbench.store import Store
from normbench.store.folder import METRICS
from normbench.study import Plan, load_study, make_plan
from tests.tracking.conftest import made_up
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
    path.write_text(yaml_text(tree))
    return make_plan(load_study(path))


def test_a_running_run_is_shown_from_its_files(plan: Plan, store: Store) -> None:
    first = store.folder(plan.runs[0].id)
    out = io.StringIO()
    with first.claim():
        (first.path / METRICS).write_text(TEXT, newline="")
        watch(plan, store, Console(file=out, width=140))
    text = out.getvalue()
    assert "live: 1 running, 1 waiting" in text
    assert "4/20" in text
    assert "▁×" in text
    assert "50.00 %" in text


def test_it_ends_when_nothing_is_left(plan: Plan, store: Store) -> None:
    out = io.StringIO()
    console = Console(file=out, width=140, force_terminal=True)
    watcher = threading.Thread(target=watch, args=(plan, store, console, 0.02))
    watcher.start()
    for run in plan.runs:
        made_up(store, run.config)
    watcher.join(10)
    assert not watcher.is_alive()
    assert "2 done" in out.getvalue()
