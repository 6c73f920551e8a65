"""`normbench train`: one run, from the command line to its folder."""

import json
import re
import resource
from pathlib import Path

import pytest

from normbench.data.idx import FILES
from normbench.spec import parse_yaml, resolve, run_config, run_id, to_dict
from normbench.spec.keys import fixed_keys, option_keys
from normbench.store.folder import RESULT, WEIGHTS, RunFolder

from ..conftest import RunCli
from .conftest import TINY, Write


def test_help_of_train_names_every_key(run_cli: RunCli) -> None:
    out = run_cli("train", "--help").out
    for key in (*fixed_keys(), *option_keys()):
        assert f"--{key}\n" in out, key
    for text in ("--model.norm_options.groups", "with model.norm=group:", "default: 64", "a whole number from 1"):
        assert text in out
    assert max(map(len, out.splitlines())) <= 120


def test_a_printed_configuration_shows_every_value_and_starts_the_same_run(run_cli: RunCli, tmp_path: Path) -> None:
    words = [*TINY, "--optimizer.name=adam", "--model.norm=group", "--model.norm_options.groups=2", "--seed=3"]
    said = run_cli("train", *words, "--print_config")
    assert said.status == 0
    tree = parse_yaml(said.out, "printed")
    assert tree["model"]["norm_options"] == {"groups": 2, "eps": 1e-5}
    assert (tree["optimizer"]["beta1"], tree["data"]["batch_size"]) == (0.9, 64)
    assert tree["trainer"]["precision"] == "32-true"
    path = tmp_path / "printed.yaml"
    path.write_text(said.out)
    assert run_cli("train", "--config", path, "--print_config").out == said.out
    assert run_cli("train", "--config", path, "--runs", tmp_path).status == 0
    assert (tmp_path / run_id(run_config(tree)) / RESULT).exists()


def test_train_writes_a_folder_and_does_not_train_twice(run_cli: RunCli, tmp_path: Path) -> None:
    said = run_cli("train", *TINY, f"--runs={tmp_path}")
    assert said.status == 0
    assert "test_accuracy" in said.out
    (folder,) = tmp_path.iterdir()
    assert str(folder) in said.out
    assert json.loads((folder / RESULT).read_text())["run_id"] == folder.name
    before = (folder / RESULT).stat().st_mtime_ns
    again = run_cli("train", *TINY, f"--runs={tmp_path}")
    assert again.out == said.out
    assert (folder / RESULT).stat().st_mtime_ns == before
    named = run_cli("train", *TINY, f"--folder={tmp_path / 'here'}", "--seed=1")
    assert named.status == 0
    config = RunFolder(tmp_path / "here").config()
    assert resolve(run_config(config)) == run_config(config), "config.yaml starts an equal run"
    assert to_dict(run_config(config)) == config
    assert (tmp_path / "here" / RESULT).exists()


def test_train_says_where_it_diverged(run_cli: RunCli, tmp_path: Path) -> None:
    said = run_cli("train", *TINY, f"--runs={tmp_path}", "--optimizer.lr=1e30", "--model.norm=none")
    assert said.status == 0
    assert re.search(r"diverged at step \d of 4", said.out)


def test_a_run_that_another_process_trains_is_left_alone(run_cli: RunCli, tmp_path: Path) -> None:
    with RunFolder(tmp_path / "run").claim() as claimed:
        assert claimed
        said = run_cli("train", *TINY, f"--folder={tmp_path / 'run'}")
    assert said.status == 1
    assert "is being trained by another process: wait for it" in said.error


def test_home_is_home_everywhere(run_cli: RunCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "home" / "run.yaml").write_text("seed: 1\n")
    assert run_cli("train", *TINY, "--config=~/run.yaml", "--folder=~/one").status == 0
    assert run_cli("train", *TINY, "--runs=~/r").status == 0
    assert {path.name for path in (tmp_path / "home").iterdir()} >= {"one", "r", "run.yaml"}
    assert list((tmp_path / "here").iterdir()) == []


def test_weights_are_kept_where_asked_and_the_run_is_the_same(run_cli: RunCli, tmp_path: Path) -> None:
    plain = run_cli("train", *TINY, f"--runs={tmp_path}")
    (folder,) = tmp_path.iterdir()
    assert not (folder / WEIGHTS).exists()
    kept = run_cli("train", *TINY, f"--runs={tmp_path}", "--trainer.keep=last")
    assert kept.status == 0
    assert "its weights were not kept: training it again" in kept.error
    assert (folder / WEIGHTS).exists()
    assert kept.out == plain.out
    assert run_cli("train", *TINY, f"--runs={tmp_path}", "--trainer.keep=last").err == ""


# What is wrong is said in one line.

WRONG_TRAIN: list[tuple[list[str], str]] = [
    (["--model.norm=bach"], r"unknown norm 'bach': did you mean 'batch'\? known: batch, batch_instance"),
    (["--model.name=cnnn"], r"unknown model 'cnnn': did you mean 'cnn'\?"),
    (["--data.name=mnits"], r"unknown data set 'mnits': did you mean 'mnist'\?"),
    (["--model.nrom=batch"], r"unknown configuration key 'model\.nrom': did you mean 'model\.norm'\?"),
    (["--data.batch_size=big"], r"data\.batch_size=big: expected a whole number"),
    (["--data.batch_size=0"], r"data\.batch_size=0: expected a whole number from 1"),
    (["--data.batch_size=4000"], r"batch_size=4000 is larger than the 3,500 training images of mnist_5k: choose"),
    (
        ["--model.norm=group", "--model.norm_options.groups=3"],
        r"3 does not divide 8: choose one of 1, 2",
    ),
    (["--model.norm=instance"], r"hidden\.0: norm 'instance' has one value for each statistic .*choose"),
    (
        ["--model.norm=batch", "--data.batch_size=1"],
        r"norm 'batch' has one value for each statistic .*: choose a larger batch",
    ),
    (["--optimizer.name=adm"], r"unknown optimizer 'adm': did you mean 'adam'\?"),
    (["--config=nowhere.yaml"], r"no configuration at nowhere\.yaml: check the path"),
    (["--plugins=[nowhere.py]"], r"plugin nowhere\.py"),
    (["nonsense"], r"nonsense"),
    (["--data.batch_size"], r"batch_size"),
]


@pytest.mark.parametrize(("words", "said"), WRONG_TRAIN, ids=[" ".join(words) for words, _ in WRONG_TRAIN])
def test_a_wrong_request_is_one_line_and_status_2(run_cli: RunCli, tmp_path: Path, words: list[str], said: str) -> None:
    answer = run_cli("train", *TINY, f"--runs={tmp_path / 'runs'}", *words)
    assert answer.status == 2
    assert re.match(rf"normbench: error: .*{said}", answer.error), answer.error
    assert answer.out == ""
    assert not (tmp_path / "runs").exists()


# Files that are not what they should be: status 1.


@pytest.mark.usefixtures("fresh_files")
@pytest.mark.parametrize("how", ["truncated", "foreign", "missing"])
def test_a_damaged_data_file_is_one_line_and_status_1(run_cli: RunCli, tmp_path: Path, how: str) -> None:
    raw = tmp_path / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in FILES:
        (raw / name).write_bytes(b"PK\3\4" + bytes(47_040_012) if how == "foreign" else b"short")
    if how == "missing":
        (raw / FILES[3]).unlink()
    answer = run_cli("train", *TINY, "--data.name=mnist", f"--data.dir={tmp_path / 'data'}", f"--runs={tmp_path}")
    assert answer.status == 1
    if how == "missing":
        assert "has others of the four: add it" in answer.error
        assert FILES[3] in answer.error
        return
    assert answer.error.startswith(f"normbench: error: {raw / FILES[0]} ")
    assert {"truncated": "expected 47,040,016", "foreign": "another file"}[how] in answer.error
    assert (raw / FILES[0]).exists()


def test_no_data_and_no_network_is_one_line_and_status_1(
    run_cli: RunCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NORMBENCH_DATA_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    answer = run_cli("train", *TINY, "--data.name=mnist", "--data.allow_embedded=false", f"--runs={tmp_path}")
    assert answer.status == 1
    assert "set NORMBENCH_DATA_DIR to a folder with MNIST/raw/*-ubyte, or data.name=mnist_5k" in answer.error


def test_a_folder_that_cannot_be_written_is_one_line_and_status_1(
    run_cli: RunCli, study: Write, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.touch()
    for words, said in (
        (
            ["train", *TINY, f"--runs={file}"],
            rf"cannot write {file}/\w+: {file} is a file; move it away or name another",
        ),
        (["run", study(), "--runs", file], f"cannot write {file}: a file has that name; move it away or name another"),
    ):
        answer = run_cli(*words)
        assert answer.status == 1
        assert re.search(said, answer.error)


def test_a_folder_of_another_runs_name_is_refused(run_cli: RunCli, tmp_path: Path) -> None:
    answer = run_cli("train", *TINY, f"--folder={tmp_path / ('0' * 16)}")
    assert answer.status != 0
    assert "0000000000000000" in answer.error


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04"])
def test_an_unusable_checkpoint_is_said_once(run_cli: RunCli, tmp_path: Path, content: bytes) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "checkpoint.ckpt").write_bytes(content)
    first = run_cli("train", *TINY, f"--folder={folder}")
    assert first.status == 0
    assert re.search(r"checkpoint\.ckpt .*: kept as checkpoint\.ckpt\.broken-1; started again from step 0", first.error)
    again = run_cli("train", *TINY, f"--folder={folder}")
    assert (again.status, again.err, again.out) == (0, "", first.out)


def limit_file_size() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))


@pytest.mark.slow
def test_a_disk_without_room_for_a_checkpoint_is_one_line_and_status_1(cli_process: RunCli, tmp_path: Path) -> None:
    words = ["train", *TINY, f"--folder={tmp_path / 'run'}", "--model.hidden=[64]", "--trainer.validations=1"]
    answer = cli_process(*words, preexec_fn=limit_file_size)
    assert answer.status == 1
    last = answer.err.strip().splitlines()[-1]  # other libraries may say that their caches cannot be written
    assert re.search(rf"cannot write {tmp_path}/run/checkpoint\.ckpt: .*; free some space or name another", last)
    assert "Traceback" not in answer.err
    assert not (tmp_path / "run" / RESULT).exists()
    again = cli_process(*words)
    assert again.status == 0, "with room it goes on"
