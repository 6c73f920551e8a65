"""`normbench status --live`."""

from __future__ import annotations

import io
import math
import threading
from pathlib import Path

import pytest
from rich.console import Console

from normbench.cli.live import Curves, sparkline, watch
from normbench.spec import yaml_text
from normbench.store import RunFolder, State, Store
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


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_numbers_are_whole_on_a_narrow_terminal(plan: Plan, store: Store, encoding: str) -> None:
    first = store.folder(plan.runs[0].id)
    with first.claim():
        (first.path / METRICS).write_text(TEXT, newline="")
        raw = io.BytesIO()
        out = io.TextIOWrapper(raw, encoding=encoding, write_through=True)
        watch(plan, store, Console(file=out, width=80))
        text = raw.getvalue().decode(encoding)
    assert "4/20" in text
    assert "50.00 %" in text
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_it_does_not_wait_for_what_nobody_trains(plan: Plan, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("normbench.cli.live.IDLE_SECONDS", 0.05)
    out = io.StringIO()
    watch(plan, store, Console(file=out, width=140, force_terminal=True), 0.02)
    assert "no run is being trained: `normbench run live.yaml` trains those that are left" in out.getvalue()


def test_it_ends_when_only_failed_runs_are_left(plan: Plan, store: Store) -> None:
    for run in plan.runs:
        with store.folder(run.id).claim():
            store.folder(run.id).write_error("no")
    out = io.StringIO()
    watch(plan, store, Console(file=out, width=140, force_terminal=True), 0.02)
    assert "live: 2 failed" in out.getvalue()


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


def test_runs_that_do_not_run_are_looked_at_in_turns(plan: Plan, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten thousand that wait are not asked about each second; one that begins is seen at once."""
    monkeypatch.setattr("normbench.cli.live.TURN", 1)
    looked: list[str] = []
    original = RunFolder.state

    def state(folder: RunFolder) -> State:
        looked.append(folder.id)
        return original(folder)

    monkeypatch.setattr(RunFolder, "state", state)
    first, second = plan.ids
    curves = Curves(plan, store)
    assert len(curves.look()["waiting"]) == 2
    assert looked == []
    curves.look()
    curves.look()
    assert looked == [first, second]
    folder = store.folder(second)
    with folder.claim():
        (folder.path / METRICS).write_text(TEXT, newline="")
        looked.clear()
        assert [run.id for run in curves.look()["running"]] == [second]
        assert looked == [second, first], "the new one, and one in turn"
        looked.clear()
        curves.look()
        assert looked == [second, first], "one that runs, always"
    assert [run.id for run in curves.look()["interrupted"]] == [second]


@pytest.mark.parametrize("variables", [{"FORCE_COLOR": "1"}, {"TTY_COMPATIBLE": "1"}])
def test_a_log_is_no_terminal_whatever_its_variables_say(
    variables: dict[str, str],
    plan: Plan,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Continuous integration sets FORCE_COLOR; the curves were written into its log again and again."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    watch(plan, store, seconds=60)
    assert capsys.readouterr().out == "live: 2 waiting\n"


def test_a_terminal_that_cannot_write_over_what_it_shows_is_told_once(
    plan: Plan, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was shown at all until the study was done."""
    monkeypatch.setenv("TERM", "dumb")
    out = io.StringIO()
    watch(plan, store, Console(file=out, width=140, force_terminal=True), 60)
    assert out.getvalue() == "live: 2 waiting\n"
