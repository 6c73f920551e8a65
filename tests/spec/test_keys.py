"""Dotted keys: what a file, a command line and a script mean is the same, and is read back as it was written."""

import json
from pathlib import Path
from typing import Any

import pytest

from normbench.cli.arguments import parse_run
from normbench.errors import UsageError
from normbench.spec import RunConfig, from_dict, parse_yaml, replace, resolve, run_config, run_id, to_dict, typed
from normbench.spec.document import yaml_text
from normbench.spec.keys import fixed_keys, flatten, key_hint, option_keys
from normbench.spec.registry import DATASETS, MODELS, NORMS, OPTIMIZERS
from normbench.spec.schema import SECTIONS, TOP
from tests.norms.cases import host

WRITTEN = {
    "model.norm": "group",
    "model.norm_options": {"groups": 4},
    "data.batch_size": 16,
    "optimizer.lr": 0.01,
    "model.hidden": [8, 4],
    "seed": 7,
    "budget.steps": 3,
    "model.padding": 2,
}


def test_a_command_line_becomes_a_run() -> None:
    config, options = parse_run(
        [
            "--model.norm=group",
            "--model.norm_options.groups=4",
            "--data.batch_size",
            "16",
            "--optimizer.lr=1e-2",
            "--model.hidden=[8,4]",
            "--seed=7",
            "--budget.steps=3",
            "--model.padding=2",
            "--folder=f",
        ]
    )
    assert config == run_config(WRITTEN)
    assert options.folder == "f"
    assert parse_run([])[0] == RunConfig()


@pytest.mark.parametrize(
    "tree",
    [
        {"model": {"norm": "group", "norm_options": {"groups": 4}}, "seed": 3},
        {"optimizer": {"name": "adam", "lr": 1, "beta1": 0.8}},
        {"trainer": {"precision": 32, "accelerator": "gpu"}},
        {"model": {"init": "he", "init_bias": 0}},
        {"data": {"name": "mnist_5k", "validation": 0, "standardize": False, "dir": "~/x"}},
        {"budget": {"samples": 640}, "probes": {"layers": {}}},
        {"logger": {"wandb": "off", "tags": ["a", "1"]}},
        {"probes": ["rank", {"layers": {"times": 4}}]},
    ],
)
def test_file_command_line_and_script_agree(tmp_path: Path, tree: dict[str, Any]) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(yaml_text(tree))
    # JSON is YAML, but text is taken as it stands.
    words = [f"--{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in flatten(tree)]
    script = run_config(tree)
    assert parse_run(["--config", str(path)])[0] == script
    assert parse_run(words)[0] == script
    assert run_config(dict(flatten(tree))) == script
    assert resolve(script)


@pytest.mark.parametrize("text", ["off", "no", "010x", "1:32", "2026-11-25", "007", "~", "2026", "true", "[a]"])
def test_text_on_a_command_line_is_text(text: str) -> None:
    assert parse_run([f"--data.dir={text}"])[0].data.dir == text


@pytest.mark.parametrize("key", ["data.batch_size", "seed", "model.hidden", "optimizer.lr", "budget.steps"])
def test_a_leading_zero_is_refused_on_a_command_line_as_in_a_file(tmp_path: Path, key: str) -> None:
    path = tmp_path / "run.yaml"
    section, _, name = key.partition(".")
    path.write_text(f"{section}: {{{name}: 010}}\n" if name else f"{section}: 010\n")
    for words in ([f"--{key}=010"], ["--config", str(path)]):
        with pytest.raises(UsageError, match="010 can be read in two ways: write 10, or quote it"):
            parse_run(words)


def test_a_file_is_read_and_later_options_win(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("model: {norm: layer}\ndata: {batch_size: 8}\noptimizer: {lr: 1e-3}\nseed: 2\n")
    for words in (["--config", str(path)], [f"--config={path}"]):
        config, _ = parse_run([*words, "--data.batch_size=4"])
        assert (config.model.norm, config.data.batch_size, config.optimizer.lr, config.seed) == ("layer", 4, 1e-3, 2)
    assert parse_run(["--data.batch_size=4", "--config", str(path)])[0].data.batch_size == 8, "the order counts"


def test_a_files_unknown_key_is_named(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("model: {nrom: layer}\n")
    for words in (["--config", str(path)], [f"--config={path}"]):
        with pytest.raises(UsageError, match=r"unknown configuration key 'model.nrom': did you mean 'model.norm'\?"):
            parse_run(words)
    with pytest.raises(UsageError, match=r"no configuration at nowhere\.yaml: check the path"):
        parse_run(["--config", "nowhere.yaml"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model.nrom=batch"], r"unknown configuration key 'model.nrom': did you mean 'model.norm'\?"),
        (["--data.batchsize", "3"], r"did you mean 'data.batch_size'\?"),
        (["--data.batch_size=many"], r"^data.batch_size=many: expected a whole number from 1$"),
        (["--data.batch_size=2.5"], r"^data.batch_size=2.5: expected a whole number from 1$"),
        (["--data.batch_size=1e2"], r"^data.batch_size=100.0: expected a whole number from 1$"),
        (["--data.batch_size"], r"^--data.batch_size needs a value$"),
        (["--optimizer.lr=fast"], r"^optimizer.lr=fast: expected a number above 0$"),
        (["--optimizer.lr=.nan"], r"^optimizer.lr=.nan: expected a number above 0$"),
        (["--optimizer.name=adm"], r"unknown optimizer 'adm': did you mean 'adam'\? known: adam, adamw, sgd$"),
        (
            ["--model.padding=smae"],
            r"^model.padding=smae: expected one of same, valid or a whole number from 0 or a list, each one of same, "
            r"valid or a whole number from 0; did you mean 'same'\?$",
        ),
        (["--trainer.channels_last=perhaps"], r"^trainer.channels_last=perhaps: expected true or false$"),
        (["--trainer.channels_last=yes"], r"^trainer.channels_last=yes: expected true or false$"),
        (["--model.hidden=wide"], r"^model.hidden=wide: expected a list, each a whole number from 1$"),
        (["--model.hidden=[0]"], r"^model.hidden=\[0\]: expected a list, each a whole number from 1$"),
        (["--budget.steps=1" + 21 * "0"], r"^budget.steps=10{21}: expected a whole number from 1 to 10{15} or null$"),
        (["--budget.samples=1e21"], r"^budget.samples=1e\+21: expected a whole number from 1 to 10{15} or null$"),
        (["--print_config=perhaps"], r"^--print_config=perhaps: expected true or false$"),
        (["--seed=-1"], r"^seed=-1: expected a whole number from 0"),
        (["--seed=99999999999999999999999"], r"^seed=99999999999999999999999: expected a whole number from 0 to"),
        (["train"], r"^'train' is not an option: write --key value"),
    ],
)
def test_what_is_wrong_with_a_command_line_is_one_line(words: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        resolve(parse_run(words)[0])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"optimizer": {"lr": 0.1, "name": "adam"}}, {"optimizer.lr": 0.1, "optimizer.name": "adam"}),
        ({"data": {"batch_size": 4}, "seed": 3}, {"data.batch_size": 4, "seed": 3}),
        ({"model.norm_options": {"groups": 4}}, {"model.norm_options": {"groups": 4}}),
        ({"model.norm_options.groups": 4}, {"model.norm_options.groups": 4}),
        ({"data.train_samples": None}, {"data.train_samples": None}),
        ({"model.hidden": []}, {"model.hidden": []}),
        ({"data": None, "model": {}}, {}),
        ({}, {}),
    ],
)
def test_values_take_the_types_of_the_configuration(values: dict[str, Any], expected: dict[str, Any]) -> None:
    assert typed(values, "here") == expected


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"data.batch_size": "x"}, r"^here: data.batch_size=x: expected a whole number from 1$"),
        ({"optimizer.lr": "1e-3"}, r"^here: optimizer.lr=1e-3: expected a number above 0; '1e-3' is text: leave out"),
        ({"model": "cnn"}, r"^here: model is a section of keys, not 'cnn'$"),
        ({"model.norn": "cnn"}, r"^here: unknown configuration key 'model.norn': did you mean 'model.norm'\?$"),
        ({"optimizer.schedule": "cosin"}, r"^here: .*expected one of constant, cosine, step; did you mean 'cosine'\?$"),
        ({"seed": "one"}, r"^here: seed=one: expected a whole number from 0"),
        ({"data.batch_size": True}, r"^here: data.batch_size=true: expected a whole number from 1$"),
        ({"trainer.precision": True}, r"^here: trainer.precision=true: expected one of 32-true"),
        ({3: 1}, r"^here: unknown configuration key '3'"),
        ({"data": {3: 1}}, r"^here: unknown configuration key 'data.3'"),
    ],
)
def test_what_is_wrong_with_a_value_says_where(values: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        typed(values, "here")


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("model.nrom", r"unknown configuration key 'model.nrom': did you mean 'model.norm'\?"),
        ("learning_rate", r"unknown configuration key 'learning_rate'"),
        ("optimizer.@@@@@@@@@@@@@@@", r"known there: optimizer.amsgrad|known there: .*optimizer.lr, "),
        (
            "zzzzzz",
            r"known there: data, model, optimizer, budget, trainer, .*seed, plugins|known there: .*plugins.*seed",
        ),
        ("data.batch_size.x", r"unknown configuration key 'data.batch_size.x': did you mean 'data.batch_size'"),
    ],
)
def test_an_unknown_key_names_the_nearest(key: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        key_hint(key)


def test_known_keys_are_accepted() -> None:
    for key in (*fixed_keys(), *option_keys(), *SECTIONS, *TOP, "model.norm_options.groups", "probes.layers.points"):
        key_hint(key)


@pytest.mark.parametrize(
    ("section", "registry"),
    [("data", DATASETS), ("model", MODELS), ("optimizer", OPTIMIZERS)],
    ids=["data", "model", "optimizer"],
)
def test_every_option_of_everything_registered_is_a_key(section: str, registry: Any) -> None:
    for name in registry:
        for option in registry.get(name).options:
            assert f"{section}.{option}" in option_keys()


def test_an_option_of_another_builder_is_refused_with_those_of_this_one() -> None:
    for changes, said in (
        ({"model.name": "mlp", "model.channels": [8]}, r"model\.channels: 'mlp' has no such option; unknown option"),
        ({"optimizer.name": "adam", "optimizer.momentum": 0.9}, r"optimizer\.momentum: 'adam' has no such option"),
        ({"model.norm": "layer", "model.norm_options": {"momentum": 0.1}}, r"model\.norm_options\.momentum: 'layer'"),
        ({"data.name": "mnist_5k", "data.path": "x.npz"}, r"data\.path: 'mnist_5k' has no such option"),
    ):
        with pytest.raises(UsageError, match=said):
            resolve(run_config(changes))


@pytest.mark.parametrize("norm", list(NORMS))
def test_a_printed_configuration_reads_back(norm: str, tmp_path: Path) -> None:
    """With every effective value of every norm; twice resolved is once resolved."""
    model = host(norm) or "cnn"
    once = resolve(run_config({"model.norm": norm, "model.name": model, "probes": {"layers": {}}}))
    path = tmp_path / "printed.yaml"
    path.write_text(yaml_text(to_dict(once)))
    again, _ = parse_run(["--config", str(path)])
    assert again == resolve(again) == once
    assert run_id(again) == run_id(once)


def test_a_configuration_survives_yaml_and_a_dictionary() -> None:
    for one in (run_config({**WRITTEN, "optimizer.lr": 1e-3}), resolve(RunConfig()), resolve(run_config({"seed": 9}))):
        assert from_dict(to_dict(one)) == one
        assert from_dict(parse_yaml(yaml_text(to_dict(one)), "here")) == one


def test_a_part_of_a_dictionary_leaves_the_rest_at_its_defaults() -> None:
    assert from_dict({}) == RunConfig()
    assert from_dict({"seed": 4, "data": {"batch_size": 2}}) == run_config({"seed": 4, "data.batch_size": 2})
    with pytest.raises(UsageError, match=r"unknown configuration key 'data.batchsize': did you mean 'data.batch_size'"):
        from_dict({"data": {"batchsize": 2}})


def test_replacing_keys() -> None:
    config = run_config({"model.norm_options": {"eps": 0.1}, "budget.epochs": 3})
    assert replace(config, {}) == config
    assert replace(config, {"model.norm_options.groups": 2}).model.norm_options == {"eps": 0.1, "groups": 2}
    assert replace(config, {"model.norm_options": {}}).model.norm_options == {}
    assert replace(config, {"data": {"batch_size": 8}}).data.batch_size == 8
    for key in ("steps", "samples"):
        budget = replace(config, {f"budget.{key}": 64}).budget
        assert (getattr(budget, key), budget.epochs) == (64, None), "one budget replaces another"
    assert replace(config, {"budget.steps": None}).budget.epochs == 3
    assert config.budget.epochs == 3, "the original is left alone"
    probes = replace(replace(config, {"probes.layers.points": 4}), {"probes.layers.of": "x"}).probes
    assert probes == {"layers": {"points": 4, "of": "x"}}


def test_another_norm_unsets_the_options_of_the_norm_before_it() -> None:
    printed = resolve(run_config({"data.name": "mnist_5k", "model.norm": "batch", "model.norm_options.momentum": 0.5}))
    other = replace(printed, typed({"model.norm": "group"}))
    assert resolve(other).model.norm_options == {"groups": 8, "eps": 1e-5}
    same = replace(printed, typed({"model.norm": "batch", "model.norm_options.eps": 0.001}))
    assert resolve(same).model.norm_options == {"momentum": 0.5, "eps": 0.001}


@pytest.mark.parametrize(("word", "asked"), [("--print_config", True), ("--print_config=false", False)])
def test_a_flag_may_say_whether(word: str, asked: bool) -> None:
    assert parse_run([word, "--seed=1"])[1].print_config is asked
