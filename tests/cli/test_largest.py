"""`normbench largest-rate`: which rates are tried, what is found, and that nothing is trained twice."""

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from normbench.errors import UsageError
from normbench.store import Store
from normbench.study import Level, load_study, make_plan
from normbench.study.largest import Search, searches, trying

from ..conftest import RunCli
from .conftest import Write

TREE: dict[str, Any] = {
    "base": {
        "data": {"name": "mnist_5k"},
        "model": {"name": "mlp", "hidden": [16, 16, 16]},
        "optimizer": {"name": "sgd", "lr": 0.4},
        "budget": {"steps": 60},
        "trainer": {"accelerator": "cpu", "validations": 0},
    },
    "seeds": 2,
}


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
    assert [one.rate(place) for place in range(5)] == [0.1, 0.2, 0.4, 0.8, 1.6]
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
    cells = {("none", 0.4), ("none", 0.2), ("batch", 0.4), ("batch", 0.8)}
    assert asked == {(*cell, seed) for cell in cells for seed in (0, 1)}
    first = next(run for run in plan.runs if (run.cell["optimizer.lr"], run.seed) == (0.4, 0))
    assert first.id in make_plan(written).ids, "a run of the study itself"


def test_an_axis_that_sets_more_than_the_rate_is_refused(study: Write) -> None:
    mixed = {"how": {"a": {"optimizer.lr": 0.1, "model.hidden": [8]}, "b": {"optimizer.lr": 0.2}}}
    compare = {"factor": "how", "baseline": "a"}
    with pytest.raises(UsageError, match=r"axis how sets optimizer.lr beside others"):
        searches(load_study(study(**TREE, grid=mixed, compare=compare)))


def test_the_command_trains_what_it_needs_and_writes_what_it_found(
    study: Write, run_cli: RunCli, tmp_path: Path
) -> None:
    path, runs, to = study(**TREE), tmp_path / "runs", tmp_path / "found.csv"
    words = ("largest-rate", path, "--runs", runs, "--to", to, "--factor", 64, "--at-least", 0.5, "--workers", 2)
    said = run_cli(*words)
    assert said.status == 0, said.err
    found = pd.read_csv(to)
    assert list(found["norm"]) == ["none", "batch"]
    assert set(found["state"]) == {"bracketed"}
    assert (found["fails_at"] / found["largest_rate"]).tolist() == pytest.approx([64, 64], rel=1e-5)
    results = [store.result() for store in map(Store(runs).folder, Store(runs).ids_of("small-largest-rate"))]
    reached: dict[tuple[str, float], list[float]] = {}
    for result in results:
        assert result is not None
        key = (result["config"]["model"]["norm"], result["config"]["optimizer"]["lr"])
        reached.setdefault(key, []).append(result["metrics"]["test_accuracy"] or 0.0)
    for row in found.to_dict("records"):
        assert min(reached[row["norm"], row["largest_rate"]]) >= 0.5
        assert min(reached[row["norm"], row["fails_at"]]) < 0.5
        tried = [rate for norm, rate in reached if norm == row["norm"]]
        assert row["rates_tried"] == " ".join(f"{rate:g}" for rate in sorted(tried))
        assert all(len(seeds) == 2 for seeds in reached.values())
    assert told(said.out, found)
    before = to.read_bytes()
    again = run_cli(*words)
    assert (again.status, again.err) == (0, ""), "nothing is trained twice"
    assert again.out == said.out
    assert to.read_bytes() == before


def told(out: str, found: pd.DataFrame) -> bool:
    """Whether a line names each cell with its rate and the one that fails."""
    return all(
        f"norm {row['norm']}" in out and f"{row['largest_rate']:g}    {row['fails_at']:g} does not train" in out
        for row in found.to_dict("records")
    )


def test_options_that_cannot_be_are_told(study: Write, run_cli: RunCli, tmp_path: Path) -> None:
    path = study(**TREE)
    assert "end in .csv" in run_cli("largest-rate", path, "--to", tmp_path / "x.txt").error
    assert "no folder" in run_cli("largest-rate", path, "--to", tmp_path / "none" / "x.csv").error
    for words in (("--at-least", "90"), ("--factor", "1")):
        said = run_cli("largest-rate", path, *words)
        assert said.status == 2
        assert "such as" in said.err
