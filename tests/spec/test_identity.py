"""A run's identity: all of what it uses and nothing else, for good."""

import dataclasses
import importlib
import itertools
import json
import os
import subprocess
import sys
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from normbench.errors import UsageError
from normbench.spec import identity_tree, resolve, run_config, run_id, to_dict
from normbench.spec.identity import StoredIds, counted_in_identity, file_digest
from normbench.spec.marks import LeftOutAt, NotIdentity, UsedWhen
from normbench.spec.registry import MODELS, NORMS, OPTIMIZERS, Option
from normbench.spec.schema import SECTIONS, hints
from normbench.spec.values import Range
from tests.norms.cases import host

identity_module = importlib.import_module("normbench.spec.identity")
resolve_module = importlib.import_module("normbench.spec.resolve")
TABLE = Path(__file__).with_name("identities.json")


def identity(**changes: Any) -> str:
    return run_id(resolve(run_config({"trainer.accelerator": "cpu", "data.name": "mnist_5k", **changes})))


# The committed table. An id that changes makes everybody's finished runs worthless: a line is never edited. A key
# that is added gets LeftOutAt(its old meaning), and lines of its own.


def table() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(TABLE.read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize("row", table(), ids=lambda row: row["id"])
def test_ids_stay(row: dict[str, Any]) -> None:
    assert run_id(resolve(run_config(row["keys"]))) == row["id"]


def test_stored_configurations_keep_their_ids_and_their_refusals() -> None:
    stored = StoredIds()
    for row in [*table(), *table()]:  # the second time from what is remembered
        assert stored.of(to_dict(resolve(run_config(row["keys"])))) == row["id"]
    for tree in ({"nonsense": 1}, {"model": {"nom": 1}}, {"seed": -1}):
        with pytest.raises(UsageError):
            stored.of(tree)


def test_the_table_is_of_different_runs_and_covers_every_built_in_thing() -> None:
    rows = table()
    assert len({row["id"] for row in rows}) == len(rows) >= 40
    assert all(row["keys"]["trainer.accelerator"] == "cpu" for row in rows)
    for key, registry in (("model.norm", NORMS), ("model.name", MODELS), ("optimizer.name", OPTIMIZERS)):
        built_in = {name for name in registry if "normbench" in registry.get(name).source}
        assert built_in <= {row["keys"].get(key) for row in rows} | {"digit_cnn", "sgd"}, key


# Every key of the schema, by its marks.

NOT_COUNTED = {
    "data.dir",
    "data.allow_embedded",
    "trainer.checkpoints",
    "trainer.gpu_share",
    "trainer.keep",
    "trainer.steps_per_execution",
    *(f"logger.{name}" for name in hints("logger")),
}
# What else has to be set for a key to count, or for its other value to be allowed.
BESIDE: dict[str, dict[str, Any]] = {
    "model.init_std": {"model.init": "normal", "model.init_std": 0.5},
    "optimizer.reference_batch": {"optimizer.lr_scaling": "linear"},
    "optimizer.step_every": {"optimizer.schedule": "step"},
    "optimizer.step_factor": {"optimizer.schedule": "step"},
    "optimizer.decay_norms": {"optimizer.weight_decay": 0.1},
    "trainer.gradient_clip_algorithm": {"trainer.gradient_clip_val": 1.0},
}
OTHER: dict[str, Any] = {
    "data.name": "mnist",
    "data.batch_size": 32,
    "data.train_samples": 640,
    "data.validation": 100,
    "data.dir": "/elsewhere",
    "model.name": "mlp",
    "model.norm": "layer",
    "model.norm_options": {"eps": 0.1},
    "model.init": "he_normal",
    "model.init_std": 0.25,
    "model.init_bias": 0.0,
    "optimizer.name": "adam",
    "trainer.accelerator": "cuda",
    "trainer.corruptions": ["noise"],
    "trainer.callbacks": ["listed"],
    "trainer.keep": "last",
}
PLAIN = {"model.norm": "batch", "trainer.accelerator": "cpu", "data.name": "mnist_5k"}
KEYS = [f"{section}.{name}" for section in SECTIONS for name in hints(section)]


def other_value(key: str) -> Any:
    """A value of a key that differs from the one at hand."""
    section, _, name = key.partition(".")
    old, hint = getattr(SECTIONS[section](), name), hints(section)[name]
    if key in OTHER:
        return OTHER[key]
    if isinstance(old, bool):
        return not old
    words = [
        w for one in [hint, *typing.get_args(hint)] if typing.get_origin(one) is Literal for w in typing.get_args(one)
    ]
    if words:
        return words[-1] if words[-1] != old else words[0]
    ranges = [one for one in typing.get_args(hint) if isinstance(one, Range)]
    if isinstance(old, int | float):
        return 2 if isinstance(old, int) else old / 2
    return ["x"] if isinstance(old, list) else 1 if ranges or "float" in str(hint) or "int" in str(hint) else "x"


@pytest.mark.parametrize("key", KEYS)
def test_every_key_counts_but_the_named_ones(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolve_module, "CALLBACKS", {"listed": None})
    monkeypatch.setattr(identity_module, "CALLBACKS", MODELS)  # only asked for a plug-in's file
    monkeypatch.setattr(identity_module, "plugins_in_identity", lambda config: [])
    base = {**PLAIN, **BESIDE.get(key, {})}
    changed = {**base, key: 64 if key.startswith("budget.") else other_value(key)}
    one, other = (resolve(run_config(keys)) for keys in (base, changed))
    assert one != other
    assert (run_id(one) == run_id(other)) == (key in NOT_COUNTED)


def test_the_keys_outside_the_identity_are_these() -> None:
    """A key that is marked lets a study re-use runs: think twice."""
    marked = {
        f"{section}.{name}"
        for section in SECTIONS
        for name, hint in hints(section).items()
        if any(isinstance(mark, NotIdentity) for mark in typing.get_args(hint))
    }
    logger = {key for key in NOT_COUNTED if key.startswith("logger.")}
    assert marked == NOT_COUNTED - logger
    assert identity(**{"logger.wandb": "offline", "logger.histograms": 3, "logger.project": "x"}) == identity()
    assert identity(**{"probes": {"layers": {}}}) == identity()


@pytest.mark.parametrize("registry", [MODELS, NORMS, OPTIMIZERS], ids=["model", "norm", "optimizer"])
def test_every_option_counts(registry: Any) -> None:
    key = {"model": "model.name", "norm": "model.norm", "optimizer": "optimizer.name"}[registry.kind]
    prefix = {"model": "model", "norm": "model.norm_options", "optimizer": "optimizer"}[registry.kind]
    for name in registry:
        norm: dict[str, Any] = {"model.norm": "batch"} if registry is MODELS else {}
        if registry is NORMS and (model := host(name)):
            norm["model.name"] = model
        if name == "strided_cnn":
            norm["model.channels"] = [8]  # whose map is large enough for every other option
        plain = identity(**{key: name, **norm})
        for option in registry.get(name).options.values():
            changed = changed_option(option)
            assert identity(**{key: name, **norm, f"{prefix}.{option.name}": changed}) != plain, (name, option.name)


def changed_option(option: Option) -> Any:
    known = {
        "groups": 4,
        "group_size": 1,
        "size": 8,
        "hidden": [16],
        "padding": "valid",
        "kernel_size": 1,
        "blocks": [1, 2],
    }
    known |= {"width": 8, "heads": 1, "patch": 7, "stride": 1 if option.default == 2 else 2}
    if option.name == "channels":
        return [16] * len(option.default)
    if option.name in known:
        return known[option.name]
    parts = [option.hint, *typing.get_args(option.hint)]
    words = [word for part in parts if typing.get_origin(part) is Literal for word in typing.get_args(part)]
    if words:
        return next(word for word in words if word != option.default)
    if isinstance(option.default, bool):
        return not option.default
    return option.default + 1 if isinstance(option.default, int) else (option.default or 0.5) / 2


# What is one run, however it is written.


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"data.train_samples": 3_500}, {"data.train_samples": None}),
        ({"data.name": "mnist", "data.train_samples": 55_000}, {"data.name": "mnist"}),
        ({"data.validation": 0, "data.train_samples": 4_000}, {"data.validation": 0}),
        ({"data.validation": 500}, {}),
        ({"data.name": "mnist", "data.validation": 5_000}, {"data.name": "mnist"}),
        ({"trainer.precision": 32}, {"trainer.precision": "32-true"}),
        ({"trainer.precision": "32"}, {}),
        ({"trainer.precision": 64}, {"trainer.precision": "64-true"}),
        ({"trainer.precision": "bf16"}, {"trainer.precision": "bf16-mixed"}),
        ({"trainer.accelerator": "gpu"}, {"trainer.accelerator": "cuda"}),
        ({"model.init": "he"}, {"model.init": "he_normal"}),
        ({"model.init_bias": 0}, {"model.init_bias": 0.0}),
        ({"optimizer.lr": 1}, {"optimizer.lr": 1.0}),
        ({"budget.epochs": 1}, {}),
        ({"model.norm": "none", "model.hidden": [128], "model.dropout": 0}, {}),
        ({"model.norm": "batch", "model.norm_options": {"eps": 1e-5, "momentum": 0.1}}, {"model.norm": "batch"}),
        (
            {"model.norm": "batch", "model.norm_options": {"eps": 0.1, "momentum": 0.2}},
            {"model.norm": "batch", "model.norm_options": {"momentum": 0.2, "eps": 0.1}},
        ),
        ({"optimizer.schedule": "constant", "optimizer.step_every": 0.5, "optimizer.step_factor": 0.3}, {}),
        ({"optimizer.schedule": "cosine", "optimizer.step_every": 0.5}, {"optimizer.schedule": "cosine"}),
        ({"optimizer.lr_scaling": "none", "optimizer.reference_batch": 99}, {}),
        ({"trainer.gradient_clip_algorithm": "value"}, {}),
        ({"data.dir": "/x", "data.allow_embedded": False}, {}),
        ({"trainer.checkpoints": 0, "trainer.keep": "best"}, {}),
        ({"logger.wandb": "off", "logger.tags": ["a"], "logger.misclassified": 4}, {}),
    ],
)
def test_one_run_has_one_id(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert identity(**one) == identity(**other)


def test_what_an_optimizer_does_not_use_is_refused_and_not_counted() -> None:
    with pytest.raises(UsageError, match=r"optimizer\.momentum: 'adam' has no such option"):
        identity(**{"optimizer.name": "adam", "optimizer.momentum": 0.5})
    assert "momentum" not in identity_tree(resolve(run_config({"optimizer.name": "adam"})))["optimizer"]


@pytest.mark.parametrize(
    "different",
    [
        [{"seed": seed} for seed in range(5)],
        [{}, {"model.init_bias": 0.0}, {"model.init_bias": 0.5}],
        [{}, {"data.standardize": False}],
        [{"data.validation": n} for n in (0, 500, 1000)],
        [{"trainer.precision": name} for name in ("32-true", "64-true", "bf16-mixed")],
        [{"trainer.accelerator": name} for name in ("cpu", "cuda", "mps")],
        [{"model.norm": norm, "model.name": "resnet8"} for norm in NORMS],
        [{"model.bias": word, "model.norm": "batch"} for word in ("auto", "always", "never", "nowhere")],
    ],
)
def test_different_runs_have_different_ids(different: list[dict[str, Any]]) -> None:
    assert len({identity(**changes) for changes in different}) == len(different)


def test_auto_is_the_kind_of_device_that_the_machine_has(monkeypatch: pytest.MonkeyPatch) -> None:
    for gpus, platform, machine, expected in (
        ([], "linux", "x86_64", "cpu"),
        (["0"], "linux", "x86_64", "cuda"),
        ([], "darwin", "arm64", "mps"),
        ([], "darwin", "x86_64", "cpu"),
    ):
        resolve_module.device_kind.cache_clear()
        with monkeypatch.context() as patch:
            patch.setattr(resolve_module, "visible_gpus", lambda gpus=gpus: gpus)
            patch.setattr(resolve_module, "cuda_in_torch", lambda: True)
            patch.setattr(resolve_module.sys, "platform", platform)
            patch.setattr(resolve_module.platform, "machine", lambda machine=machine: machine)
            assert resolve(run_config({"trainer.accelerator": "auto"})).trainer.accelerator == expected
            assert identity(**{"trainer.accelerator": "auto"}) == identity(**{"trainer.accelerator": expected})
    resolve_module.device_kind.cache_clear()


def test_a_gpu_without_a_torch_that_knows_it_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve_module.device_kind.cache_clear()
    monkeypatch.setattr(resolve_module, "visible_gpus", lambda: ["0"])
    monkeypatch.setattr(resolve_module, "cuda_in_torch", lambda: False)
    assert resolve_module.device_kind("auto") != "cuda"
    resolve_module.device_kind.cache_clear()


def test_what_torch_was_built_for_is_read_without_importing_it() -> None:
    import torch

    assert resolve_module.cuda_in_torch() == (torch.version.cuda is not None or torch.version.hip is not None)
    code = "from normbench.spec import resolve as r; import sys; from normbench.spec.resolve import cuda_in_torch as c"
    code += "; c(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# Keys and options that are added later.


def test_a_key_added_later_keeps_old_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    before, marks = identity(), hints("trainer")

    @dataclasses.dataclass(frozen=True)
    class Later:
        added: Annotated[int, LeftOutAt(3)] = 3
        unmarked: int = 3
        used: Annotated[int, UsedWhen(lambda values: values.added > 3)] = 1

    monkeypatch.setattr(identity_module, "hints", lambda section: typing.get_type_hints(Later, include_extras=True))
    monkeypatch.setattr(identity_module, "has_options", lambda section: False)
    assert counted_in_identity("trainer", Later()) == {"unmarked": 3}
    assert counted_in_identity("trainer", Later(added=4)) == {"added": 4, "unmarked": 3, "used": 1}
    monkeypatch.undo()
    assert hints("trainer") == marks
    assert identity() == before


def test_an_option_added_later_keeps_old_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = NORMS.get("group").facts["measured"]({})
    for registry, key in ((NORMS, {"model.norm": "group"}), (OPTIMIZERS, {}), (MODELS, {"model.name": "mlp"})):
        name = {"norm": "group", "optimizer": "sgd", "model": "mlp"}[registry.kind]
        before = identity(**key)
        entry = registry.get(name)
        for hint, same in ((Annotated[int, LeftOutAt(7)], True), (int, False)):
            later = dataclasses.replace(entry, options={**entry.options, "added": Option("added", hint, 7)})
            monkeypatch.setitem(registry._entries, name, later)
            facts = {
                **entry.facts,
                "layers": lambda *_: None,
                "measured": lambda options: measured,
            }
            monkeypatch.setitem(registry._entries, name, dataclasses.replace(later, facts=facts))
            assert (identity(**key) == before) == same
            prefix = {"norm": "model.norm_options", "optimizer": "optimizer", "model": "model"}[registry.kind]
            assert identity(**key, **{f"{prefix}.added": 8}) != before
        monkeypatch.undo()


def test_an_edited_default_gives_new_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Identity comes from the resolved values, never from what was written."""
    before = identity()
    entry = MODELS.get("digit_cnn")
    options = {**entry.options, "hidden": dataclasses.replace(entry.options["hidden"], default=[64])}
    monkeypatch.setitem(MODELS._entries, "digit_cnn", dataclasses.replace(entry, options=options))
    assert identity() != before


# Processes and files.


def test_identity_is_the_same_in_every_process() -> None:
    code = "from normbench.spec import *; c = {'trainer.accelerator': 'cpu', 'data.name': 'mnist_5k'}"
    code += "; print(run_id(resolve(run_config(c))))"
    answers = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("0", "77")
    }
    assert answers == {identity()}
    assert len(answers.pop()) == 16


NORM = """
from normbench import register_norm


@register_norm("{name}")
def build(num_channels: int, size: int = 3, strength: float = 1.0):
    from torch import nn

    return nn.Identity()
"""
Plugin = Callable[..., str]


@pytest.fixture
def plugin(tmp_path: Path) -> Iterator[Plugin]:
    """Writes a plug-in file that registers a norm, and forgets all of them afterwards."""
    known, numbers = set(NORMS), itertools.count()

    def write(name: str, comment: str = "", text: str = NORM) -> str:
        path = tmp_path / f"{next(numbers)}" / "plugin.py"
        path.parent.mkdir()
        path.write_text(text.format(name=name) + comment)
        return str(path)

    yield write
    for name in set(NORMS) - known:
        NORMS.remove(name)


def test_a_plug_in_counts_where_it_is_used_and_only_there(plugin: Plugin) -> None:
    path = plugin("plugged")
    assert identity(**{"plugins": [path]}) == identity(), "what it registers is not used"
    assert identity(**{"plugins": [path], "model.norm": "plugged"}) != identity()
    tree = identity_tree(resolve(run_config({"plugins": [path], "model.norm": "plugged"})))
    assert tree["plugins"] == [file_digest(path)]
    assert identity_tree(resolve(run_config({"plugins": [path], "model.norm": "batch"})))["plugins"] == []


def test_the_content_of_a_plug_in_counts_and_its_place_does_not(plugin: Plugin) -> None:
    ids = []
    for comment in ("", "", "# edited\n"):
        path = plugin("placed", comment)
        ids.append(identity(**{"plugins": [path], "model.norm": "placed"}))
        NORMS.remove("placed")
    assert ids[0] == ids[1] != ids[2]
    with pytest.raises(UsageError, match=r"plugin nowhere\.py: No such file or directory; give a path that exists"):
        file_digest("nowhere.py")


def test_another_way_to_write_the_path_is_the_same_run(plugin: Plugin, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path(plugin("anywhere"))
    monkeypatch.chdir(path.parent)
    monkeypatch.setenv("HOME", str(path.parent))
    link = path.parent / "link.py"
    link.symlink_to(path)
    whole = identity(**{"plugins": [str(path)], "model.norm": "anywhere"})
    for written in ("plugin.py", "./plugin.py", "~/plugin.py", "link.py"):
        assert identity(**{"plugins": [written], "model.norm": "anywhere"}) == whole, written


WRAPPED = """
import functools

from normbench import register_norm


def make(num_channels: int, size: int = 3):
    from torch import nn

    return nn.Identity()


register_norm("{name}")(functools.update_wrapper(functools.partial(make), make, assigned=()))
"""


def test_a_builder_made_by_another_module_counts_as_its_plug_ins(plugin: Plugin) -> None:
    """`functools.partial` belongs to functools; the file that registers it is the plug-in's."""
    ids = []
    for comment in ("", "# edited\n"):
        path = plugin("wrapped", comment, WRAPPED)
        ids.append(identity(**{"plugins": [path], "model.norm": "wrapped"}))
        NORMS.remove("wrapped")
    assert ids[0] != ids[1]


def test_an_option_called_size_is_no_ghost_size(plugin: Plugin) -> None:
    """Version 0.1 took any option `size` for a ghost batch and checked that it divides the batch."""
    from normbench.spec import images_per_statistic

    path = plugin("sized")
    config = resolve(run_config({"plugins": [path], "model.norm": "sized", "model.norm_options": {"size": 7}}))
    assert config.model.norm_options == {"size": 7, "strength": 1.0}
    assert images_per_statistic(config) == 0
    assert run_id(config) != run_id(resolve(run_config({"plugins": [path], "model.norm": "sized"})))


if __name__ == "__main__":  # `python tests/spec/test_identity.py`: the lines of new configurations
    for line in json.loads(sys.stdin.read()):
        line["trainer.accelerator"] = "cpu"
        print(json.dumps({"id": run_id(resolve(run_config(line))), "keys": line}) + ",")
