"""Typed reading of keys: from a command line, a file, or the dotted keys of a study."""

from pathlib import Path
from typing import Any

import pytest
from normbench.spec.parse import parse_train, typed

from normbench.errors import UsageError
from normbench.spec.schema import RunConfig, replace, run_id


def test_a_command_line_becomes_a_run() -> None:
    config, options = parse_train(
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
    assert config == replace(
        RunConfig(),
        {
            "model.norm": "group",
            "model.norm_options": {"groups": 4},
            "data.batch_size": 16,
            "optimizer.lr": 0.01,
            "model.hidden": [8, 4],
            "seed": 7,
            "budget.steps": 3,
            "model.padding": 2,
        },
    )
    assert options.folder == "f"
    assert parse_train([])[0] == RunConfig()


def test_a_file_is_read_and_later_options_win(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("model: {norm: layer}\ndata: {batch_size: 8}\noptimizer: {lr: 1e-3}\nseed: 2\n")
    for words in (["--config", str(path)], [f"--config={path}"]):
        config, _ = parse_train([*words, "--data.batch_size=4"])
        assert (config.model.norm, config.data.batch_size, config.optimizer.lr, config.seed) == ("layer", 4, 1e-3, 2)


def test_a_files_unknown_key_is_named(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("model: {nrom: layer}\n")
    for words in (["--config", str(path)], [f"--config={path}"]):
        with pytest.raises(UsageError, match=r"unknown configuration key 'model.nrom': did you mean 'model.norm'\?"):
            parse_train(words)
    with pytest.raises(UsageError, match=r"no configuration at nowhere\.yaml: check the path"):
        parse_train(["--config", "nowhere.yaml"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model.nrom=batch"], r"unknown configuration key 'model.nrom': did you mean 'model.norm'\?"),
        (["--data.batchsize", "3"], r"did you mean 'data.batch_size'\?"),
        (["--data.batch_size=many"], r"^data.batch_size=many: expected a whole number$"),
        (["--data.batch_size=2.5"], r"^data.batch_size=2.5: expected a whole number$"),
        (["--optimizer.lr=fast"], r"^optimizer.lr=fast: expected a number$"),
        (["--optimizer.name=adm"], r"^optimizer.name=adm: expected one of sgd, adam, adamw; did you mean 'adam'\?$"),
        (
            ["--model.padding=smae"],
            r"^model.padding=smae: expected one of same, valid or a whole number; did.*'same'\?$",
        ),
        (["--trainer.channels_last=perhaps"], r"^trainer.channels_last=perhaps: expected true or false$"),
        (["--model.hidden=wide"], r"^model.hidden=wide: expected a list$"),
    ],
)
def test_what_is_wrong_with_a_command_line_is_one_line(words: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        parse_train(words)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"optimizer.lr": "1e-3"}, {"optimizer.lr": 1e-3}),
        ({"optimizer": {"lr": 0.1, "name": "adam"}}, {"optimizer.lr": 0.1, "optimizer.name": "adam"}),
        ({"data": {"batch_size": 4}, "seed": 3}, {"data.batch_size": 4, "seed": 3}),
        ({"model.norm_options": {"groups": 4}}, {"model.norm_options": {"groups": 4}}),
        ({"model.norm_options.groups": 4}, {"model.norm_options.groups": 4}),
        ({"data.train_samples": None}, {"data.train_samples": None}),
        ({"model.hidden": []}, {"model.hidden": []}),
        ({}, {}),
    ],
)
def test_values_take_the_types_of_the_configuration(values: dict[str, Any], expected: dict[str, Any]) -> None:
    assert typed(values, "here") == expected


def test_a_whole_number_for_a_number_is_the_same_run() -> None:
    one, other = (replace(RunConfig(), typed({"optimizer.lr": value}, "here")) for value in (1, 1.0))
    from_words, _ = parse_train(["--optimizer.lr=1"])
    assert run_id(one) == run_id(other) == run_id(from_words)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"data.batch_size": "x"}, r"^here: data.batch_size=x: expected a whole number$"),
        ({"model": "cnn"}, r"^here: model is a section of keys, not 'cnn'$"),
        ({"model.norn": "cnn"}, r"^here: unknown configuration key 'model.norn': did you mean 'model.norm'\?$"),
        ({"optimizer.schedule": "cosin"}, r"^here: .*expected one of constant, cosine, step; did you mean 'cosine'\?$"),
        ({"seed": "one"}, r"^here: seed=one: expected a whole number$"),
        ({"data.batch_size": True}, r"^here: data.batch_size=True: expected a whole number$"),
    ],
)
def test_what_is_wrong_with_a_value_says_where(values: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        typed(values, "here")
