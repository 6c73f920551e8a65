"""`normbench largest-rate`: which rates are tried, what is found, and that nothing is trained twice."""

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from normbench.errors import UsageError
from normbench.store import Store
from normbench.study import Level, changed_study, load_study, make_plan
from normbench.study.largest import Search, searches, trying
from normbench.train import train

from ..conftest import RunCli
from .conftest import Write

TREE: dict[str, Any] = {
    "base": {
        "data": {"name": "mnist_5k"},
        "model": {"name": "mlp", "hidden": [16]},
        "optimizer": {"name": "sgd", "lr": 0.1},
        "budget": {"steps": 60},
        "trainer": {"accelerator": "cpu", "validations": 0},
    },
    "seeds": 2,
}
OPTIONS = ("--factor", 64, "--most", 2, "--at-least", 0.5)


@pytest.mark.parametrize("start", range(7))
@pytest.mark.parametrize("able", range(-1, 7))
def test_a_search_finds_the_last_rate_that_trains_from_wherever_it_begins(start: int, able: int) -> None:
    grid = tuple(Level(rate, {"optimizer.lr": rate}) for rate in (1, 2, 4, 8, 16, 32, 64))
    search = Search({}, grid, start)
    while (place := search.next) is not None:
        assert search.state == "searching"
        search.trains[place] = place <= able
    assert search.state == ("none trains" if able < 0 else "all train" if able == 6 else "bracketed")
    assert math.isnan(search.largest) if able < 0 else search.largest == 2**able
    assert math.isnan(search.fails) if able == 6 else search.fails == 2 ** (able + 1)
    ends = (start, min(able + 1, 6)) if start <= able else (max(able, 0), start)
    assert sorted(search.trains) == list(range(ends[0], ends[1] + 1)), "and tries no others"


def test_rates_are_powers_of_the_factor_or_those_of_the_axis(study: Write) -> None:
    one, other = searches(load_study(study(**TREE)), factor=2, most=2)
    assert [one.rate(place) for place in range(5)] == [0.025, 0.05, 0.1, 0.2, 0.4]
    assert (one.cell, other.cell) == ({"model.norm": "none"}, {"model.norm": "batch"})
    assert one.start == 2
    grid = {"optimizer.lr": [0.3, 0.1, 1.0], "model.norm": ["none", "batch"]}
    skip = [{"when": {"model.norm": "none", "optimizer.lr": 1.0}, "reason": "too large"}]
    one, other = searches(load_study(study(**TREE, grid=grid, skip=skip)))
    assert [one.rate(place) for place in range(len(one.grid))] == [0.1, 0.3], "what is skipped is not tried"
    assert [other.rate(place) for place in range(len(other.grid))] == [0.1, 0.3, 1.0]


def test_what_is_asked_for_are_the_runs_of_the_rates_so_far_and_no_others(study: Write) -> None:
    written = load_study(study(**TREE))
    one, other = found = searches(written)
    one.trains |= {12: False, 11: True}
    assert one.next is None
    other.trains |= {12: True}
    plan = make_plan(trying(written, found))
    asked = {(run.cell["model.norm"], run.cell["optimizer.lr"], run.seed) for run in plan.runs}
    cells = {("none", 0.1), ("none", 0.05), ("batch", 0.1), ("batch", 0.2)}
    assert asked == {(*cell, seed) for cell in cells for seed in (0, 1)}
    first = next(run for run in plan.runs if (run.cell["optimizer.lr"], run.seed) == (0.1, 0))
    assert first.id in make_plan(written).ids, "a run of the study itself"


def test_an_axis_that_sets_more_than_the_rate_is_refused(study: Write) -> None:
    mixed = {"how": {"a": {"optimizer.lr": 0.1, "model.hidden": [8]}, "b": {"optimizer.lr": 0.2}}}
    compare = {"factor": "how", "baseline": "a"}
    with pytest.raises(UsageError, match=r"axis how sets optimizer.lr beside others"):
        searches(load_study(study(**TREE, grid=mixed, compare=compare)))


def command(path: Path, root: Path) -> tuple[Any, ...]:
    return ("largest-rate", path, "--runs", root / "runs", "--to", root / "found.csv", *OPTIONS)


def test_what_was_trained_is_judged_and_told_and_nothing_is_trained_twice(
    study: Write, run_cli: RunCli, tmp_path: Path
) -> None:
    path, reached = study(**TREE), dict[tuple[str, float], list[float]]()
    for rate in (0.1, 6.4):
        asked = changed_study(load_study(path), {"optimizer.lr": rate})
        for run in make_plan(asked).runs:
            result = train(run.config, tmp_path / "runs" / run.id)
            reached.setdefault((run.cell["model.norm"], rate), []).append(result["metrics"]["test_accuracy"] or 0.0)
    assert all(min(reached[norm, 0.1]) > 0.5 > max(reached[norm, 6.4]) for norm in ("none", "batch"))
    said = run_cli(*command(path, tmp_path))
    assert (said.status, said.err) == (0, ""), "all runs are there, in whatever study they were trained"
    found = pd.read_csv(tmp_path / "found.csv")
    assert found.to_dict("records") == [
        {"norm": norm, "largest_rate": 0.1, "fails_at": 6.4, "state": "bracketed", "rates_tried": "0.1 6.4"}
        | {"seeds": 2, "at_least": 0.5}
        for norm in ("none", "batch")
    ]
    assert said.out.splitlines() == [
        "largest learning rate at which 2 seeds reach a test accuracy of 0.5",
        "  norm none   0.1    6.4 does not train",
        "  norm batch  0.1    6.4 does not train",
        str(tmp_path / "found.csv"),
    ]


@pytest.mark.slow
def test_the_command_trains_what_it_needs(study: Write, run_cli: RunCli, tmp_path: Path) -> None:
    path = study(**TREE)
    said = run_cli(*command(path, tmp_path))
    assert said.status == 0, said.err
    assert set(pd.read_csv(tmp_path / "found.csv")["state"]) == {"bracketed"}
    store = Store(tmp_path / "runs")
    assert len(store.finished(store.ids_of("small-largest-rate"))) == 8
    again = run_cli(*command(path, tmp_path))
    assert (again.status, again.err, again.out) == (0, "", said.out)


def test_options_that_cannot_be_are_told(study: Write, run_cli: RunCli, tmp_path: Path) -> None:
    path = study(**TREE)
    assert "end in .csv" in run_cli("largest-rate", path, "--to", tmp_path / "x.txt").error
    assert "no folder" in run_cli("largest-rate", path, "--to", tmp_path / "none" / "x.csv").error
    for words in (("--at-least", "90"), ("--factor", "1")):
        said = run_cli("largest-rate", path, *words)
        assert said.status == 2
        assert "such as" in said.err
