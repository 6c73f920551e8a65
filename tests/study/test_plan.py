"""A study: a file becomes a list of runs, or one line that says what it cannot mean."""

import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from normbench.errors import UsageError
from normbench.spec.resolve import resolve
from normbench.spec.schema import replace, run_id
from normbench.study import Plan, describe, estimate, iter_pending, load_study, make_plan

from .conftest import REPOSITORY

TREE: dict[str, Any] = {
    "name": "small",
    "question": "Which norm?",
    "base": {"data": {"name": "mnist_5k"}, "budget": {"steps": 10}},
    "grid": {"model.norm": ["none", "batch", "group"], "data.batch_size": [8, 32]},
    "seeds": 2,
    "compare": {"factor": "model.norm", "baseline": "batch"},
}
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes the small study with other values at some of its top keys; None leaves a key out."""

    def write(**changes: Any) -> Path:
        path = tmp_path / "study.yaml"
        tree = {key: value for key, value in {**TREE, **changes}.items() if value is not None}
        path.write_text(yaml.safe_dump(tree, sort_keys=False))
        return path

    return write


def plan(path: Path) -> Plan:
    return make_plan(load_study(path))


def test_a_plan_has_every_cell_with_every_seed(write: Write) -> None:
    made = plan(write())
    assert len(made.runs) == 12
    assert {(run.cell["model.norm"], run.cell["data.batch_size"], run.seed) for run in made.runs} == {
        (norm, size, seed) for norm in ("none", "batch", "group") for size in (8, 32) for seed in (0, 1)
    }
    assert len({run.id for run in made.runs}) == 12
    assert made.skipped == []
    for run in made.runs:
        assert run.config.model.norm == run.cell["model.norm"]
        assert run.config.data.batch_size == run.cell["data.batch_size"]
        assert run.config.seed == run.seed
        assert run.config.budget.steps == 10


def test_ids_of_a_plan_are_those_of_the_resolved_runs(write: Write) -> None:
    for run in plan(write(grid={"model.norm": ["batch", "group"], "optimizer.lr": [0.1, 1e-3]})).runs:
        assert run.config == resolve(run.config)
        assert run.id == run_id(run.config)


def test_the_first_seed_comes_first_and_in_it_the_longest(write: Write) -> None:
    made = plan(write(seeds=[5, 0]))
    assert [run.seed for run in made.runs] == [5] * 6 + [0] * 6
    for seed in (5, 0):
        seconds = [estimate(run.config) for run in made.runs if run.seed == seed]
        assert seconds == sorted(seconds, reverse=True)


@pytest.mark.parametrize(("seeds", "expected"), [(None, {0, 1, 2}), (1, {0}), ([0], {0}), ([7, 3], {3, 7})])
def test_seeds_are_a_list_or_how_many(write: Write, seeds: Any, expected: set[int]) -> None:
    assert {run.seed for run in plan(write(seeds=seeds)).runs} == expected


def test_named_axes_change_keys_together(write: Write) -> None:
    grid = {
        "optimizer": {"sgd": {"optimizer.name": "sgd", "optimizer.lr": 0.1}, "adam": {"optimizer": {"name": "adam"}}},
        "model.norm": ["none", "batch"],
    }
    made = plan(write(grid=grid))
    assert len(made.runs) == 8
    found = {(run.cell["optimizer"], run.config.optimizer.name, run.config.optimizer.lr) for run in made.runs}
    assert found == {("sgd", "sgd", 0.1), ("adam", "adam", 0.05)}


def test_groups_for_each_norm(write: Write) -> None:
    grid = {
        "norm": {
            "batch": {"model.norm": "batch"},
            "group 4": {"model.norm": "group", "model.norm_options": {"groups": 4}},
            "group 8": {"model.norm": "group", "model.norm_options.groups": 8},
        }
    }
    made = plan(write(grid=grid, compare={"factor": "norm", "baseline": "batch"}))
    assert {run.cell["norm"]: run.config.model.norm_options.get("groups") for run in made.runs} == {
        "batch": None,
        "group 4": 4,
        "group 8": 8,
    }


def test_lists_as_values_of_an_axis(write: Write) -> None:
    made = plan(write(grid={"model.hidden": [[], [8]], "model.norm": ["none", "batch"]}))
    assert {run.cell["model.hidden"] for run in made.runs} == {"[]", "[8]"}
    assert {str(run.config.model.hidden) for run in made.runs} == {"[]", "[8]"}


def test_skipped_cells_have_their_reason(write: Write) -> None:
    rules = [
        {"when": {"model.norm": "batch", "data.batch_size": 8}, "reason": "too small"},
        {"when": {"model.norm": ["none", "batch"], "data.batch_size": [8, 32]}, "reason": "not now"},
    ]
    made = plan(write(skip=rules))
    assert {run.cell["model.norm"] for run in made.runs} == {"group"}
    reasons = {(cell["model.norm"], cell["data.batch_size"]): reason for cell, reason in made.skipped}
    assert reasons == {
        ("batch", 8): "too small",  # the first rule that fits
        ("none", 8): "not now",
        ("none", 32): "not now",
        ("batch", 32): "not now",
    }


def test_a_cell_that_cannot_run_may_be_skipped(write: Write) -> None:
    grid = {"model.norm": ["batch", "instance"], "model.name": ["cnn", "mlp"]}
    compare = {"factor": "model.norm", "baseline": "batch"}
    with pytest.raises(UsageError, match=r"cell model\.norm=instance, model\.name=mlp: norm 'instance' .*skip rule"):
        plan(write(grid=grid, compare=compare))
    rule = {"when": {"model.norm": "instance", "model.name": "mlp"}, "reason": "no positions"}
    assert len(plan(write(grid=grid, compare=compare, skip=[rule])).runs) == 6


def test_pending_runs_are_those_without_a_result(write: Write) -> None:
    made = plan(write())
    done = {made.runs[0].id, made.runs[5].id}
    assert [run.id for run in iter_pending(made, done)] == [run.id for run in made.runs if run.id not in done]
    assert describe(made.runs[0].cell).startswith("norm ")


def test_a_plugin_beside_the_study_is_found(write: Write, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("x = 1\n")
    first = plan(write(plugins=["own.py"]))
    assert first.runs[0].config.plugins == [str(tmp_path / "own.py")]
    assert first.runs[0].id != plan(write()).runs[0].id


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": None}, r"'name' is missing or empty"),
        ({"question": ""}, r"'question' is missing or empty"),
        ({"grid": None}, r"'grid' is missing or empty: a study has a name, a question, a grid and a compare"),
        ({"grid": {}}, r"'grid' is missing or empty"),
        ({"compare": None}, r"'compare' is missing or empty"),
        ({"compares": 1}, r"unknown key of a study 'compares': did you mean 'compare'\?"),
        ({"name": "a b/c"}, r"name 'a b/c' becomes a folder: use letters, digits, - and _"),
        ({"name": "../x"}, r"name '\.\./x' becomes a folder"),
        ({"name": 5}, r"name '5' becomes a folder"),
        ({"base": [1]}, r"base is a mapping of keys to values, not \[1\]"),
        ({"base": {"model": {"nrom": "x"}}}, r"unknown configuration key 'model\.nrom': did you mean 'model\.norm'"),
        ({"base": {"data": {"batch_size": "big"}}}, r"data\.batch_size=big: expected a whole number"),
        ({"grid": {"model.norm": []}}, r"grid\.model\.norm has no values: give a list"),
        ({"grid": {"model.norm": {}}}, r"grid\.model\.norm has no values: give a list"),
        ({"grid": {"model.norm": "batch"}}, r"grid\.model\.norm has no values: give a list"),
        ({"grid": {"model.norn": ["batch"]}}, r"grid: unknown configuration key 'model\.norn': did you mean"),
        ({"grid": {"data.batch_size": [8, "x"]}}, r"grid: data\.batch_size=x: expected a whole number"),
        ({"grid": {"model.norm": ["batch", "none", "batch"]}}, r"grid\.model\.norm has 'batch' twice: keep one"),
        ({"grid": {"seed": [0, 1], "model.norm": ["batch"]}}, r"grid\.seed: seeds are given under 'seeds'"),
        ({"grid": {"norm": {"a": 3}}}, r"grid\.norm\.a is a mapping of keys to values, not 3"),
        ({"grid": {"norm": {"a": {"modl.norm": "batch"}}}}, r"grid\.norm\.a: unknown configuration key 'modl\.norm'"),
        (
            {"grid": {"model.norm": ["batch"], "norm": {"a": {"model.norm": "none"}}}},
            r"both grid\.model\.norm and grid\.norm set model\.norm: keep one of the axes",
        ),
        (
            {"grid": {"model.norm": ["batch"], "x": {"a": {"model": {"norm": "none"}}}}},
            r"both grid\.model\.norm and grid\.x set model\.norm",
        ),
        ({"seeds": []}, r"seeds is a list of whole numbers from 0, or how many: \[\]"),
        ({"seeds": 0}, r"seeds is a list of whole numbers from 0, or how many: 0"),
        ({"seeds": -2}, r"seeds is a list of whole numbers"),
        ({"seeds": [0, -1]}, r"seeds is a list of whole numbers"),
        ({"seeds": [True]}, r"seeds is a list of whole numbers"),
        ({"seeds": "three"}, r"seeds is a list of whole numbers"),
        ({"seeds": 2.5}, r"seeds is a list of whole numbers"),
        ({"seeds": [1, 1]}, r"a seed is given twice: each counts once"),
        ({"skip": [{"when": {"model.norm": "batch"}}]}, r"a skip rule has 'when' \(keys and values\) and 'reason'"),
        ({"skip": [{"reason": "x"}]}, r"a skip rule has 'when'"),
        ({"skip": ["x"]}, r"a skip rule has 'when'"),
        ({"skip": {"when": {"model.norm": "batch"}, "reason": "x"}}, r"skip"),
        ({"skip": [{"when": ["model.norm"], "reason": "x"}]}, r"skip\.when is a mapping"),
        ({"skip": [{"when": {"norm": "x"}, "reason": "x"}]}, r"skip\.when: unknown axis 'norm': did you mean 'model"),
        (
            {"skip": [{"when": {"model.norm": ["batch", "bach"]}, "reason": "x"}]},
            r"skip\.when\.model\.norm: 'bach' is not among \['none', 'batch', 'group'\]",
        ),
        ({"skip": [{"when": {"data.batch_size": [8, 32]}, "reason": "x"}]}, r"every cell is skipped: nothing is left"),
        ({"compare": [1]}, r"compare is a mapping"),
        ({"compare": {"factr": "model.norm"}}, r"unknown key of compare 'factr': did you mean 'factor'\?"),
        ({"compare": {"factor": "norm", "baseline": "batch"}}, r"compare\.factor: unknown axis 'norm': did you mean"),
        ({"compare": {"factor": "model.norm"}}, r"compare\.baseline None is not among"),
        ({"compare": {"factor": "model.norm", "baseline": "bach"}}, r"compare\.baseline 'bach' is not among \['none'"),
        (
            {"compare": {"factor": "model.norm", "baseline": "batch", "across": ["batch_size"]}},
            r"compare\.across: unknown other axis 'batch_size': did you mean 'data\.batch_size'",
        ),
        (
            {"compare": {"factor": "model.norm", "baseline": "batch", "margin": 0}},
            r"compare\.margin=0 is not a positive",
        ),
        (
            {"compare": {"factor": "model.norm", "baseline": "batch", "margin": "x"}},
            r"compare\.margin='x' is not a pos",
        ),
        ({"plugins": ["nowhere.py"]}, r"plugin .*nowhere\.py"),
        ({"grid": {"model.norm": ["batch", "bach"]}}, r"cell model\.norm=bach: unknown norm 'bach'.*skip rule"),
        (
            {"grid": {"model.norm": ["batch", "group"], "model.channels": [[6]]}},
            r"cell model\.norm=group, model\.channels=\[6\]: .*groups=8 does not divide 6 channels: choose one of 1, 2",
        ),
        (
            {"grid": {"model.norm": ["batch"], "data.batch_size": [8, 4_000]}},
            r"batch_size=4000 is larger than the 3,500",
        ),
        ({"grid": {"model.norm": ["batch"], "data.batch_size": [8, 0]}}, r"batch_size=0 is not positive"),
        ({"grid": {"model.norm": ["batch"], "optimizer.lr": [0.1, -0.1]}}, r"optimizer\.lr=-0\.1 is not positive"),
        (
            {"grid": {"model.norm": ["batch"], "x": {"a": {"seed": 1}}}},
            r"grid\.seed|seeds are given under 'seeds'",
        ),
        (
            {"grid": {"model.norm": ["none", "batch"], "x": {"a": {"data.dir": "/a"}, "b": {"data.dir": "/b"}}}},
            r"are the same run: leave one out",
        ),
    ],
)
def test_what_a_study_cannot_mean(write: Write, changes: dict[str, Any], said: str) -> None:
    path = write(**changes)
    with pytest.raises(UsageError, match=said) as caught:
        plan(path)
    message = str(caught.value)
    assert message.startswith((str(path), "plugin")), "the file is named first"
    assert "\n" not in message


def test_an_axis_given_twice_is_an_error(write: Write) -> None:
    path = write()
    path.write_text(path.read_text().replace("grid:\n", "grid:\n  data.batch_size: [2]\n"))
    with pytest.raises(UsageError, match=r"study\.yaml, line \d+: 'data\.batch_size' is given twice: keep one"):
        plan(path)


def test_a_value_that_is_equal_to_another_is_an_error(write: Write) -> None:
    with pytest.raises(UsageError, match="twice: keep one"):
        plan(write(grid={"model.norm": ["batch"], "optimizer.lr": [1, 1.0]}))


def test_studies_by_name(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"no study 'small': experiments/ has none here"):
        load_study("small")
    (tmp_path / "experiments").mkdir()
    path.rename(tmp_path / "experiments" / "small.yaml")
    assert load_study("small").name == "small"
    with pytest.raises(UsageError, match=r"unknown study 'smal': did you mean 'small'\? known: small"):
        load_study("smal")
    with pytest.raises(UsageError, match=r"no study at elsewhere/small\.yaml: check the path"):
        load_study("elsewhere/small.yaml")


@pytest.mark.parametrize("path", sorted((REPOSITORY / "experiments").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_studies_of_the_project_can_be_planned(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    study = load_study(path)
    assert study.name == path.stem
    assert make_plan(study).runs


def test_the_fall_back_to_embedded_digits_is_part_of_the_plan(write: Write) -> None:
    study = load_study(write(base={"budget": {"steps": 10}}))
    kept, fallen = (make_plan(study, fallback) for fallback in (False, True))
    assert {run.config.data.name for run in kept.runs} == {"mnist"}
    assert {run.config.data.name for run in fallen.runs} == {"mnist_5k"}
    assert not {run.id for run in kept.runs} & {run.id for run in fallen.runs}
    strict = load_study(write(base={"budget": {"steps": 10}, "data": {"allow_embedded": False}}))
    assert {run.config.data.name for run in make_plan(strict, True).runs} == {"mnist"}


@pytest.mark.slow
def test_a_hundred_thousand_cells_are_planned_without_torch(write: Write) -> None:
    grid = {
        "model.norm": ["none", "batch", "layer", "instance", "group"],
        "data.batch_size": [4, 8, 16, 32, 64],
        "optimizer.lr": [round(0.001 * 1.1**i, 8) for i in range(100)],
        "optimizer.weight_decay": [i * 1e-4 for i in range(10)],
        "model.dropout": [0.0, 0.25, 0.5, 0.75],
    }
    code = f"""
        import sys, time
        from normbench.study import load_study, make_plan
        started = time.monotonic()
        plan = make_plan(load_study({str(write(grid=grid, seeds=1))!r}))
        assert "torch" not in sys.modules
        assert "pandas" not in sys.modules
        assert len({{run.id for run in plan.runs}}) == 100_000
        assert time.monotonic() - started < 30
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, timeout=120)


def test_planning_agrees_with_replacing_keys_one_by_one(write: Write) -> None:
    """The plan's shortcut, sections resolved once, against the long way."""
    path = write(grid={"model.norm": ["batch", "group"], "data.batch_size": [8, 16], "optimizer.lr": [0.1, 0.2]})
    study = load_study(path)
    for run in make_plan(study).runs:
        slow = resolve(replace(study.base, {**run.cell, "seed": run.seed}))
        assert (run_id(slow), slow) == (run.id, run.config)
