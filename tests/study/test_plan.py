"""A study: a file becomes a list of runs, or one line that says what it cannot mean."""

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from normbench.errors import UsageError
from normbench.spec import images_per_statistic, replace, resolve, run_id
from normbench.spec.registry import NORMS
from normbench.study import changed_study, describe, estimate, iter_pending, load_study, make_plan, possible_plans

from .conftest import REPOSITORY, TREE, Write, plan

NORM = """
from normbench import register_norm


@register_norm("beside")
def build(num_channels, strength: float = 1.0):
    from torch import nn

    return nn.Identity()
"""


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
    assert {str(run.config.model.options["hidden"]) for run in made.runs} == {"[]", "[8]"}


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
    with pytest.raises(
        UsageError, match=r"cell model\.norm=instance, model\.name=mlp: hidden\.0: norm 'instance' .*skip rule"
    ):
        plan(write(grid=grid, compare=compare))
    rule = {"when": {"model.norm": "instance", "model.name": "mlp"}, "reason": "no positions"}
    assert len(plan(write(grid=grid, compare=compare, skip=[rule])).runs) == 6


PRECISE = {"factor": "model.norm", "baseline": "batch", "metric": "test_accuracy_precise"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"compare": PRECISE},
            "compare.metric=test_accuracy_precise cannot be compared in cell model.norm=none, data.batch_size=8: set "
            "trainer.precise_statistics to a number of training images in every cell",
        ),
        (
            {"compare": PRECISE, "grid": {**TREE["grid"], "trainer.precise_statistics": [64, 0]}},
            "cannot be compared in cell model.norm=none, data.batch_size=8, trainer.precise_statistics=0: set",
        ),
        (
            {"compare": {**PRECISE, "metric": "val_nll"}, "base": {**TREE["base"], "trainer": {"validations": 0}}},
            "compare.metric=val_nll cannot be compared in cell model.norm=none, data.batch_size=8: set "
            "trainer.validations and data.validation above 0 in every cell",
        ),
        (
            {
                "compare": {**PRECISE, "metric": "train_loss"},
                "base": {**TREE["base"], "model": {"name": "cnn", "dropout": 0.5}},
            },
            "compare.metric=train_loss cannot be compared in cell model.norm=none, data.batch_size=8: compare val_nll",
        ),
        (
            {
                "compare": {"factor": "model.norm", "baseline": "batch", "tuned": "data.batch_size"},
                "base": {**TREE["base"], "data": {"name": "mnist_5k", "validation": 0}},
            },
            "compare.tuned chooses by val_accuracy, which cannot be compared in cell model.norm=none",
        ),
        (
            {
                "compare": {"factor": "model.norm", "baseline": "batch", "target": 0.5},
                "base": {**TREE["base"], "data": {"name": "mnist_5k", "validation": 0}},
            },
            "compare.target is a value of val_accuracy, which cannot be compared in cell model.norm=none",
        ),
        (
            {
                "compare": {**PRECISE, "metric": "test_accuracy_noise"},
                "base": {**TREE["base"], "trainer": {"corruptions": ["blur"]}},
            },
            "cannot be compared in cell model.norm=none, data.batch_size=8: set trainer.corruptions: [noise] in every",
        ),
    ],
)
def test_a_metric_that_a_cell_will_not_have(write: Write, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as raised:
        plan(write(**changes))
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_metric_that_only_a_skipped_cell_lacks(write: Write) -> None:
    grid = {**TREE["grid"], "trainer.precise_statistics": [64, 0]}
    rule = {"when": {"trainer.precise_statistics": 0}, "reason": "not measured there"}
    assert len(plan(write(compare=PRECISE, grid=grid, skip=[rule])).runs) == 12


def test_pending_runs_are_those_without_a_result(write: Write) -> None:
    made = plan(write())
    done = {made.runs[0].id, made.runs[5].id}
    assert [run.id for run in iter_pending(made, done)] == [run.id for run in made.runs if run.id not in done]
    assert describe(made.runs[0].cell).startswith("norm ")


def test_a_plugin_beside_the_study_is_found_and_counts_where_it_is_used(write: Write, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(NORM)
    grid = {"model.norm": ["batch", "beside"]}
    try:
        used = {run.cell["model.norm"]: run for run in plan(write(plugins=["own.py"], grid=grid, seeds=1)).runs}
        assert used["beside"].config.plugins == [str(tmp_path / "own.py")]
        plain = {
            run.cell["model.norm"]: run for run in plan(write(grid={"model.norm": ["batch", "none"]}, seeds=1)).runs
        }
        assert used["batch"].id == plain["batch"].id, "a run that does not use the plug-in is the same without"
        in_base = {**TREE["base"], "plugins": [str(tmp_path / "own.py")], "model": {"norm_options": {"strength": 2}}}
        made = plan(write(base=in_base, grid={"model.norm": ["beside"], "data.batch_size": [8, 16]}, seeds=1,
                          compare={"factor": "data.batch_size", "baseline": 8}))  # fmt: skip
        assert {run.config.model.norm_options["strength"] for run in made.runs} == {2.0}
    finally:
        NORMS.remove("beside")


def test_a_value_that_is_equal_to_another_is_an_error(write: Write) -> None:
    with pytest.raises(UsageError, match="twice: keep one"):
        plan(write(grid={"model.norm": ["batch"], "optimizer.lr": [1, 1.0]}))


@pytest.mark.parametrize("path", sorted((REPOSITORY / "experiments").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_studies_of_the_project_can_be_planned(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    study = load_study(path)
    assert study.name == path.stem
    assert make_plan(study).runs


@pytest.mark.parametrize(
    ("trainer", "group_size", "statistic"),
    [({"devices": 2}, 2, 64), ({"virtual_devices": 4}, 4, 64), ({"virtual_devices": 4}, 2, 32)],
)
def test_groups_of_devices_are_planned(write: Write, trainer: dict[str, int], group_size: int, statistic: int) -> None:
    """A group of all the devices is not what one device can be: it would not divide it."""
    base = TREE["base"] | {"trainer": {"accelerator": "cpu", **trainer}}
    synchronised = {"model.norm": "sync_batch", "model.norm_options": {"group_size": group_size}}
    grid = {"kind": {"layer": {"model.norm": "layer"}, "synchronised": synchronised}}
    made = plan(write(base=base, grid=grid, compare={"factor": "kind", "baseline": "layer"}))
    config = next(run.config for run in made.runs if run.cell["kind"] == "synchronised")
    assert config.trainer.virtual_devices == trainer.get("virtual_devices", 1)
    assert images_per_statistic(config) == statistic


def test_a_data_set_with_other_options_is_another_one(write: Write) -> None:
    """The classes that all of a plan's data sets have were those of the last part that was planned."""
    grid = {"model.norm": ["batch", "group"], "data.part": ["letters", "digits"]}
    made = plan(write(base={"budget": {"steps": 10}, "data": {"name": "emnist", "batch_size": 8}}, grid=grid))
    assert sorted(data.options["part"] for data in made.data_sets) == ["digits", "letters"]
    assert [data.name for data in plan(write()).data_sets] == ["mnist_5k"]


def test_the_fall_back_to_embedded_digits_is_part_of_the_plan(write: Write) -> None:
    study = load_study(write(base={"budget": {"steps": 10}}))
    kept, fallen = (make_plan(study, fallback) for fallback in (False, True))
    assert {run.config.data.name for run in kept.runs} == {"mnist"}
    assert {run.config.data.name for run in fallen.runs} == {"mnist_5k"}
    assert not {run.id for run in kept.runs} & {run.id for run in fallen.runs}
    strict = load_study(write(base={"budget": {"steps": 10}, "data": {"allow_embedded": False}}))
    assert {run.config.data.name for run in make_plan(strict, True).runs} == {"mnist"}


def test_the_other_data_set_is_planned_only_where_a_run_can_be_on_it(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = load_study(write(base={"budget": {"steps": 10}}))
    kept, fallen = (make_plan(study, fallback) for fallback in (False, True))
    monkeypatch.setattr("normbench.study.plan.available", lambda data: data.name)  # whatever this machine has
    assert [each.ids for each in possible_plans(study, set(kept.ids[:2]))] == [kept.ids]
    for known in (None, {fallen.ids[0]}, {kept.ids[0], "0123456789abcdef"}):
        assert [each.ids for each in possible_plans(study, known)] == [kept.ids, fallen.ids]


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
        import sys
        from normbench.study import load_study, make_plan
        plan = make_plan(load_study({str(write(grid=grid, seeds=1))!r}))
        assert "torch" not in sys.modules
        assert "pandas" not in sys.modules
        assert len({{run.id for run in plan.runs}}) == 100_000
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, timeout=120)


def test_planning_agrees_with_replacing_keys_one_by_one(write: Write) -> None:
    """The plan's shortcut, sections resolved once, against the long way."""
    path = write(grid={"model.norm": ["batch", "group"], "data.batch_size": [8, 16], "optimizer.lr": [0.1, 0.2]})
    study = load_study(path)
    for run in make_plan(study).runs:
        slow = resolve(replace(study.base, {**run.cell, "seed": run.seed}))
        assert (run_id(slow), slow) == (run.id, run.config)


# Warnings, smaller studies, labels.


def test_two_values_a_statistic_are_a_warning_of_the_plan(write: Write) -> None:
    base = {**TREE["base"], "model": {"name": "mlp", "hidden": [2]}}
    compare = {"factor": "model.norm", "baseline": "none"}
    made = plan(write(base=base, grid={"model.norm": ["none", "layer"]}, compare=compare))
    (warning,) = made.warnings
    assert "hidden.0: norm 'layer' has two values for each statistic" in warning


def test_any_label_and_any_axis_name_is_planned_as_written(write: Write) -> None:
    labels = ["no", "off", "1:32", "", " x ", "é", "a=b", "a,b", "|", "$x$", "<b>", "x" * 300, 3, 0.5, True]
    names = ["seed", "test_accuracy", "width [units]", "width: hidden", "a/b", "value", "n", "x" * 300, '"', "ü"]
    cells = {label: {"optimizer.lr": 0.01 * (index + 1)} for index, label in enumerate(labels)}
    for name in names:
        made = plan(write(grid={name: cells}, compare={"factor": name, "baseline": "no"}, seeds=1))
        assert [run.cell[name] for run in sorted(made.runs, key=lambda run: run.config.optimizer.lr)] == labels


def test_a_smaller_study_never_mixes_with_the_real_one(write: Write) -> None:
    study = load_study(write(skip=[{"when": {"model.norm": "none", "data.batch_size": 8}, "reason": "so"}]))
    small = changed_study(study, {"budget.samples": 500}, 1, {"model.norm": ["group", "none"]})
    assert (small.name, small.seeds, small.compare.baseline) == ("small-smoke", (0,), "none")
    made = make_plan(small)
    assert {run.cell["model.norm"] for run in made.runs} == {"none", "group"}
    assert {(run.config.budget.samples, run.config.budget.steps) for run in made.runs} == {(500, None)}
    assert not {run.id for run in made.runs} & {run.id for run in make_plan(study).runs}
    assert len(made.skipped) == 1
    assert changed_study(study, {}, 5).seeds == (0, 1, 2, 3, 4)
    for arguments, said in (
        (
            ({"data.batch_size": 4},),
            r"--set data\.batch_size: the axis data\.batch_size of the study sets it: use --only",
        ),
        (({"budget.stepps": 4},), r"unknown configuration key 'budget\.stepps': did you mean 'budget\.steps'"),
        (({"seed": 4},), r"--set: seed: the seeds of a study are given under 'seeds'|seeds"),
        (({}, None, {"norm": ["x"]}), r"--only: unknown axis 'norm': did you mean 'model\.norm'"),
        (({}, None, {"model.norm": ["bach"]}), r"--only model\.norm: unknown label 'bach': did you mean 'batch'"),
    ):
        with pytest.raises(UsageError, match=said):
            changed_study(study, *arguments)


def test_a_small_budget_of_a_smaller_study_fits_many_evaluations(write: Write) -> None:
    base = {**TREE["base"], "budget": {"steps": 200}, "trainer": {"validations": 20, "loss_points": 100}}
    small = changed_study(load_study(write(base=base)), {"budget.samples": 64})
    assert {(run.config.trainer.validations, run.config.trainer.loss_points) for run in make_plan(small).runs} == {
        (5, 50)
    }
