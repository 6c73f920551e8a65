"""A run's configuration: its identity is all of it, and it survives being written and read."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from normbench.errors import UsageError
from normbench.spec.resolve import resolve
from normbench.spec.schema import (
    NOT_IDENTITY,
    SECTIONS,
    RunConfig,
    check_key,
    flatten,
    from_dict,
    known_keys,
    load_yaml,
    plugin_digest,
    replace,
    run_id,
    to_dict,
)

LEAVES = [key for key in known_keys() if key != "plugins"]


def other_value(value: Any, kind: Any) -> Any:
    """A value of the same kind that differs from `value`."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str):
        return value + "x"
    if isinstance(value, dict):
        return {**value, "eps": 0.1}
    if isinstance(value, list):
        return [*value, "x"]
    return {int | None: 7, float | None: 0.7, bool | None: True, list[int] | None: [3]}.get(kind, "x")


def outside(key: str) -> bool:
    """Whether a key cannot change a result."""
    return key in NOT_IDENTITY or key.partition(".")[0] in NOT_IDENTITY


@pytest.mark.parametrize("key", LEAVES)
def test_every_field_but_the_named_ones_enters_the_identity(key: str) -> None:
    old = dict(leaves(RunConfig()))[key]
    changed = replace(RunConfig(), {key: other_value(old, known_keys()[key])})
    assert dict(leaves(changed))[key] != old
    assert (run_id(changed) == run_id(RunConfig())) == outside(key)


def leaves(config: RunConfig) -> list[tuple[str, Any]]:
    """Dotted keys and values, with the option dictionaries whole."""
    return list(flatten(to_dict(config)))


def test_the_fields_outside_the_identity_are_these() -> None:
    # A field added here can make a study re-use runs that it should not: think twice.
    assert {"logger", "data.dir", "data.allow_embedded", "trainer.checkpoints"} == NOT_IDENTITY


def test_a_field_set_to_its_default_is_the_same_run() -> None:
    defaults = dict(leaves(RunConfig()))
    assert run_id(replace(RunConfig(), {"optimizer.lr": defaults["optimizer.lr"]})) == run_id(RunConfig())


def test_an_edited_default_gives_new_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Identity comes from the resolved values, never from what was written."""
    before = run_id(resolve(RunConfig()))
    from normbench.models import MODELS

    model = MODELS["digit_cnn"]
    monkeypatch.setitem(MODELS, "digit_cnn", dataclasses.replace(model, defaults={**model.defaults, "hidden": [64]}))
    assert run_id(resolve(RunConfig())) != before


def test_seed_zero_is_not_no_seed() -> None:
    ids = {run_id(replace(RunConfig(), {"seed": seed})) for seed in range(5)}
    assert len(ids) == 5


def test_the_order_of_options_does_not_matter() -> None:
    one = replace(RunConfig(), {"model.norm_options": {"eps": 0.1, "momentum": 0.2}})
    other = replace(RunConfig(), {"model.norm_options": {"momentum": 0.2, "eps": 0.1}})
    assert run_id(one) == run_id(other)


def test_identity_is_the_same_in_every_process() -> None:
    code = "from normbench.spec.schema import *; print(run_id(RunConfig()))"
    answers = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("0", "1", "77")
    }
    assert answers == {run_id(RunConfig())}
    assert len(answers.pop()) == 16


def test_the_content_of_a_plugin_enters_the_identity_and_its_place_does_not(tmp_path: Path) -> None:
    ids = []
    for folder, content in (("a", "x = 1\n"), ("b", "x = 1\n"), ("c", "x = 2\n")):
        path = tmp_path / folder / "plugin.py"
        path.parent.mkdir()
        path.write_text(content)
        ids.append(run_id(replace(RunConfig(), {"plugins": [str(path)]})))
    assert ids[0] == ids[1]
    assert len({*ids, run_id(RunConfig())}) == 3
    with pytest.raises(UsageError, match=r"plugin nowhere\.py: No such file or directory; give a path that exists"):
        plugin_digest("nowhere.py")


def test_a_configuration_survives_yaml_and_a_dictionary() -> None:
    config = replace(
        RunConfig(),
        {
            "model.hidden": [3, 4],
            "model.norm_options": {"groups": 4},
            "seed": 3,
            "budget.steps": 9,
            "optimizer.lr": 1e-3,
        },
    )
    for one in (config, resolve(RunConfig())):
        again = from_dict(yaml.safe_load(yaml.safe_dump(to_dict(one))))
        assert again == one
        assert run_id(again) == run_id(one)


def test_a_part_of_a_dictionary_leaves_the_rest_at_its_defaults() -> None:
    assert from_dict({}) == RunConfig()
    assert from_dict({"seed": 4, "data": {"batch_size": 2}}) == replace(RunConfig(), {"seed": 4, "data.batch_size": 2})
    with pytest.raises(UsageError, match=r"unknown configuration key 'data.batchsize': did you mean 'data.batch_size'"):
        from_dict({"data": {"batchsize": 2}})


def test_replacing_keys() -> None:
    config = replace(RunConfig(), {"model.norm_options": {"eps": 0.1}, "budget.epochs": 3})
    assert replace(config, {}) is config
    assert replace(config, {"model.norm_options.groups": 2}).model.norm_options == {"eps": 0.1, "groups": 2}
    assert replace(config, {"data": {"batch_size": 8}}).data.batch_size == 8
    steps = replace(config, {"budget.steps": 10}).budget
    assert (steps.steps, steps.epochs) == (10, None), "one budget replaces another"
    assert config.budget.epochs == 3, "the original is left alone"


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("model.nrom", r"unknown configuration key 'model.nrom': did you mean 'model.norm'\?"),
        ("learning_rate", r"unknown configuration key 'learning_rate'"),
        ("optimizer.@@@@@@@@@@@@@@@", r"known there: optimizer.name, optimizer.lr, "),
        ("zzzzzz", r"known there: data, model, optimizer, budget, trainer, .*seed, plugins"),
        ("data.batch_size.x", r"unknown configuration key 'data.batch_size.x': did you mean 'data.batch_size'"),
    ],
)
def test_an_unknown_key_names_the_nearest(key: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        check_key(key)


def test_known_keys_are_accepted() -> None:
    for key in (*known_keys(), *SECTIONS, "model.norm_options.groups", "model.options.depth"):
        check_key(key)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\na: 2\n", r"file\.yaml, line 2: 'a' is given twice: keep one"),
        ("grid:\n  x: [1]\n  y: [2]\n  x: [3]\n", r"line 4: 'x' is given twice"),
        ("a: [1\n", r"file\.yaml, line 2: "),
        ("a: b: c\n", r"file\.yaml, line 1: "),
        ("- 1\n", r"a study is a mapping of keys to values, not list"),
        ("", r"a study is a mapping of keys to values, not NoneType"),
        ("a: !!python/object:os.system x\n", r"file\.yaml, line 1: "),
    ],
)
def test_yaml_that_cannot_be_meant(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "file.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=said):
        load_yaml(path, "study")


def test_yaml_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no study at .*nowhere\.yaml: check the path"):
        load_yaml(tmp_path / "nowhere.yaml", "study")
    with pytest.raises(UsageError, match=r"cannot read study .*: Is a directory"):
        load_yaml(tmp_path, "study")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(UsageError, match=r"binary\.yaml"):
        load_yaml(tmp_path / "binary.yaml", "study")


def test_numbers_as_people_write_them(tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_text("a: 1e-3\nb: 1E5\nc: 2\nd: 1.5e-4\ne: '1e-3'\nf: 1e\ng: .5\n")
    assert load_yaml(path, "study") == {"a": 1e-3, "b": 1e5, "c": 2, "d": 1.5e-4, "e": "1e-3", "f": "1e", "g": 0.5}
