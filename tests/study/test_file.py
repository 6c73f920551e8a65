"""A study as written: what it means, or one line that says what it cannot mean."""

from pathlib import Path
from typing import Any

import pytest

from normbench.errors import UsageError
from normbench.study import load_study

from .conftest import Write, plan


def test_a_study_is_read_as_written(write: Write) -> None:
    path = write(
        question=" Which? ",
        notes="So.",
        seeds=[5, 0],
        skip=[{"when": {"model.norm": "batch"}, "reason": "why"}],
        compare={"factor": "model.norm", "baseline": "none", "tuned": "data.batch_size", "margin": 0.01, "target": 0.9},
    )
    study = load_study(path)
    assert (study.name, study.question, study.notes, study.path) == ("small", "Which?", "So.", path)
    assert {axis: [level.label for level in levels] for axis, levels in study.axes.items()} == {
        "model.norm": ["none", "batch", "group"],
        "data.batch_size": [8, 32],
    }
    assert study.seeds == (5, 0)
    assert [(dict(skip.when), skip.reason) for skip in study.skips] == [({"model.norm": ["batch"]}, "why")]
    compare = study.compare
    assert (compare.factor, compare.baseline, compare.across, compare.tuned) == (
        "model.norm",
        "none",
        (),
        "data.batch_size",
    )
    assert (compare.metric, compare.margin, compare.target) == ("test_accuracy", 0.01, 0.9)
    assert load_study(write()).compare.margin == 0.005, "half a point, of the metric that it is meant for"
    other = {"factor": "model.norm", "baseline": "none", "metric": "test_nll"}
    assert load_study(write(compare=other)).compare.margin is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": None}, r"'name' is missing or empty"),
        ({"question": ""}, r"'question' is missing or empty"),
        ({"question": 3}, r"question is text, not 3"),
        ({"notes": ["one"]}, r"notes is text, not \['one'\]"),
        ({"grid": None}, r"'grid' is missing or empty: a study has a name, a question, a grid and a compare"),
        ({"grid": {}}, r"'grid' is missing or empty"),
        ({"compare": None}, r"'compare' is missing or empty"),
        ({"compares": 1}, r"unknown key of a study 'compares': did you mean 'compare'\?"),
        ({"name": "a b/c"}, r"name 'a b/c' becomes a folder: use letters, digits, - and _"),
        ({"name": "-x"}, r"name '-x' becomes a folder"),
        ({"name": "x-smoke"}, r"name 'x-smoke': -smoke is the end of the names of smoke tests: choose another"),
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
        ({"grid": {"model.norm": ["batch"], "model.dropout": [0, "0"]}}, r"grid\.model\.dropout has '0' twice: keep"),
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
        ({"seeds": [0, -1]}, r"seeds: -1 is not a whole number from 0 to"),
        ({"seeds": [True]}, r"seeds: True is not a whole number"),
        ({"seeds": "three"}, r"seeds is a list of whole numbers"),
        ({"seeds": 2.5}, r"seeds is a list of whole numbers"),
        ({"seeds": [1, 1]}, r"a seed is given twice: each counts once"),
        ({"skip": [{"when": {"model.norm": "batch"}}]}, r"a skip rule has 'when' \(keys and values\) and 'reason'"),
        ({"skip": [{"reason": "x"}]}, r"a skip rule has 'when'"),
        ({"skip": ["x"]}, r"a skip rule has 'when'"),
        (
            {"skip": [{"when": {"model.norm": "batch"}, "reason": "x", "where": {"model.norm": "none"}}]},
            r"skip: unknown key of a skip rule 'where': did you mean 'when'",
        ),
        ({"skip": {"when": {"model.norm": "batch"}, "reason": "x"}}, r"skip"),
        ({"skip": [{"when": ["model.norm"], "reason": "x"}]}, r"skip\.when is a mapping"),
        ({"skip": [{"when": {"norm": "x"}, "reason": "x"}]}, r"skip\.when: unknown axis 'norm': did you mean 'model"),
        (
            {"skip": [{"when": {"model.norm": ["batch", "bach"]}, "reason": "x"}]},
            r"skip\.when\.model\.norm: 'bach' is not among \['none', 'batch', 'group'\]",
        ),
        ({"skip": [{"when": {"data.batch_size": [8, 32]}, "reason": "x"}]}, r"every cell is skipped: nothing is left"),
        ({"compare": [1]}, r"compare is a list of mappings, a contrast each, not \[1\]"),
        ({"compare": "batch"}, r"compare is a mapping of keys to values, or a list of such contrasts"),
        ({"compare": {"factr": "model.norm"}}, r"unknown key of compare 'factr': did you mean 'factor'\?"),
        ({"compare": {"factor": "norm", "baseline": "batch"}}, r"compare\.factor: unknown axis 'norm': did you mean"),
        ({"compare": {"factor": "model.norm"}}, r"compare\.baseline is missing: one of none, batch, group$"),
        ({"compare": {"factor": "model.norm", "baseline": "bach"}}, r"compare\.baseline 'bach' is not among \['none'"),
        (
            {"compare": {"factor": "model.norm", "baseline": "batch", "across": ["batch_size"]}},
            r"compare\.across: unknown other axis 'batch_size': did you mean 'data\.batch_size'",
        ),
        (
            {"compare": {"factor": "model.norm", "baseline": "batch", "margin": 0}},
            r"compare\.margin=0: expected a number above 0",
        ),
        (
            {"compare": {"factor": "model.norm", "baseline": "batch", "margin": "x"}},
            r"compare\.margin=x: expected a number above 0",
        ),
        *(
            ({"compare": {"factor": "model.norm", "baseline": "batch", "margin": value}}, r"compare\.margin=.*above 0")
            for value in (-0.1, float("nan"), float("inf"), True)
        ),
        ({"compare": {"factor": "model.norm", "baseline": "batch", "margin": 5}}, r"margin=5 is 500 points.*0\.005"),
        (
            {"compare": {"factor": "model.norm", "baseline": "batch", "metric": "test_acc"}},
            r"compare\.metric: unknown metric 'test_acc': did you mean 'test_accuracy'\?",
        ),
        ({"compare": {"factor": "model.norm", "baseline": "batch", "target": 98}}, r"compare\.target=98: expected"),
        ({"compare": {"factor": "model.norm", "baseline": "batch", "across": "x"}}, r"compare\.across is a list"),
        (
            {"compare": {"factor": "model.norm", "baseline": "batch", "across": []}},
            r"axis data\.batch_size is compared",
        ),
        ({"compare": {"factor": "model.norm", "baseline": "batch", "tuned": "model.norm"}}, r"compare\.tuned: unknown"),
        ({"base": {"seed": 3}}, r"base\.seed: the seeds of a study are given under 'seeds'"),
        ({"seeds": [20261125091812345678]}, r"seeds: 20261125091812345678 is not a whole number from 0 to 9223372036"),
        ({"base": {"trainer": {"precision": "bf16_mixed"}}}, r"precision=bf16_mixed: .*did you mean 'bf16-mixed'"),
        ({"base": {"trainer": {"accelerator": "gppu"}}}, r"accelerator=gppu: expected one of .*did you mean 'gpu'"),
        ({"base": {"optimizer": {"momentum": -0.5}}}, r"optimizer\.momentum=-0\.5: expected a number from 0 below 1"),
        ({"base": {"optimizer": {"lr": float("nan")}}}, r"optimizer\.lr=\.nan: expected a number above 0"),
        ({"base": {"model": {"dropout": 7}}}, r"model\.dropout=7: expected a number from 0 below 1"),
        ({"base": {"probes": {"layer": {}}}}, r"unknown probe 'layer': did you mean 'layers'"),
        ({"base": {"budget": {"steps": 5}, "optimizer": {"warmup_steps": 6}}}, r"warmup_steps=6 is more than the 5"),
        ({"grid": {"model.norm": ["batch"], "x\ny": {"a": {"seed": 1}}}}, r"is no name for an axis: use printable"),
        ({"grid": {"model.norm": ["batch"], " ": {"a": {"seed": 1}}}}, r"is no name for an axis: use printable"),
        *(
            (
                {"grid": {"model.norm": ["batch", "none"], "x": {label: {"optimizer.lr": 0.1}}}},
                r"grid\.x: .* is no label",
            )
            for label in ("a\nb", None, float("nan"))
        ),
        ({"name": "x" * 101}, r"becomes a folder: use letters, digits, - and _, at most 100"),
        ({"plugins": ["nowhere.py"]}, r"plugin .*nowhere\.py"),
        (
            {"grid": {"model.norm": ["batch", "bach"]}},
            r"cell model\.norm=bach: model\.norm: unknown norm 'bach'.*skip rule",
        ),
        (
            {"grid": {"model.norm": ["batch", "group"], "model.channels": [[6]]}},
            r"cell model\.norm=group, model\.channels=\[6\]: .*8 does not divide 6: choose one of 1, 2, 3, 6",
        ),
        (
            {"grid": {"model.norm": ["batch"], "data.batch_size": [8, 4_000]}},
            r"batch_size=4000 is larger than the 3,500",
        ),
        (
            {"grid": {"model.norm": ["batch"], "data.batch_size": [8, 0]}},
            r"batch_size=0: expected a whole number from 1",
        ),
        (
            {"grid": {"model.norm": ["batch"], "optimizer.lr": [0.1, -0.1]}},
            r"optimizer\.lr=-0\.1: expected a number above 0",
        ),
        (
            {"grid": {"model.norm": ["batch"], "x": {"a": {"seed": 1}}}},
            r"grid\.seed|seeds are given under 'seeds'",
        ),
        (
            {"grid": {"model.norm": ["none", "batch"], "x": {"a": {"data.dir": "/a"}, "b": {"data.dir": "/b"}}}},
            r"cells 'norm none, x a' and 'norm none, x b' are the same run: leave one out",
        ),
        ({"grid": {"model.norm": ["batch"], "data.name": ["mnist_5k", "MNIST"]}}, r"did you mean 'mnist'\?"),
        ({"base": {"trainer": {"accelerator": "CPU"}}}, r"did you mean 'cpu'\?"),
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


def test_a_name_may_begin_with_a_digit(write: Write) -> None:
    assert load_study(write(name="2026_norms")).name == "2026_norms"


@pytest.mark.parametrize(
    ("axis", "values", "baseline", "labels"),
    [
        ("model.norm_options.momentum", [0.1, None], None, [0.1, "null"]),
        ("model.hidden", [[8], [8, 8]], [8, 8], ["[8]", "[8, 8]"]),
    ],
)
def test_a_baseline_is_written_as_its_level_is(
    write: Write, axis: str, values: list[Any], baseline: Any, labels: list[Any]
) -> None:
    """The level null was called 'None', and neither it nor a list could be named as it stands in the grid."""
    base = {"data": {"name": "mnist_5k"}, "model": {"name": "mlp", "norm": "batch"}, "budget": {"steps": 4}}
    twice = [{"factor": axis, "baseline": baseline}, {"kind": "levels", "baseline": values[0]}]
    path = write(base=base, grid={axis: values}, compare=twice)
    study = load_study(path)
    assert [level.label for level in study.axes[axis]] == labels
    assert (study.compare.baseline, study.compare.contrasts[0].level) == (labels[1], labels[0])
    assert len(plan(path).runs) == 4
