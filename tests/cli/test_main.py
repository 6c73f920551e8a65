"""The command line: what it prints, and one line with the culprit and the remedy for whatever is wrong."""

import json
import os
import re
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from normbench.data.source import FILES
from normbench.norms import NORMS
from normbench.store.folder import LOCK, RESULT
from normbench.study import load_study, make_plan

from .conftest import RunCli

TINY = [
    *(
        "--model.name=mlp",
        "--model.hidden=[8]",
        "--data.name=mnist_5k",
        "--budget.steps=4",
        "--trainer.accelerator=cpu",
    ),
    *("--trainer.validations=1", "--trainer.loss_points=2"),
]
Write = Callable[..., Path]


@pytest.fixture
def study(tmp_path: Path) -> Write:
    """Writes a small study of two runs, with other values at some of its keys."""

    def write(**changes: Any) -> Path:
        tree = {
            "name": "small",
            "question": "Which norm?",
            "base": {
                "data": {"name": "mnist_5k"},
                "model": {"name": "mlp", "hidden": [8]},
                "budget": {"steps": 4},
                "trainer": {"accelerator": "cpu"},
            },
            "grid": {"model.norm": ["none", "batch"]},
            "seeds": 1,
            "compare": {"factor": "model.norm", "baseline": "batch"},
        }
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump(tree | changes, sort_keys=False))
        return path

    return write


# Fast answers.


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['normbench', '--help']\n"
        "from normbench.__main__ import main\n"
        "try: main()\n"
        "except SystemExit as end: assert end.code == 0\n"
        "heavy = {'torch', 'lightning', 'numpy', 'pandas', 'rich', 'wandb', 'altair'} & sys.modules.keys()\n"
        "assert not heavy, heavy"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=20)
    for command in ("train", "plan", "run", "status", "report", "norms", "exit status"):
        assert command in answer.stdout


def test_planning_needs_no_torch(study: Write, tmp_path: Path) -> None:
    code = (
        "import sys; from normbench.cli.main import run_command\n"
        f"assert run_command(['plan', {str(study())!r}, '--runs', {str(tmp_path)!r}]) == 0\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("command", ["train", "plan", "run", "status", "report", "norms"])
def test_every_command_explains_itself(run_cli: RunCli, command: str) -> None:
    said = run_cli(command, "--help")
    assert said.status == 0
    assert f"normbench {command}" in said.out


def test_help_of_train_names_every_key(run_cli: RunCli) -> None:
    out = run_cli("train", "--help").out
    for key in ("--data.batch_size", "--model.norm", "--optimizer.lr_scaling", "--budget.samples", "--seed"):
        assert key in out
    printed = yaml.safe_load(run_cli("train", "--print_config").out)
    assert printed["data"]["batch_size"] == 64


def test_version(run_cli: RunCli) -> None:
    assert re.fullmatch(r"normbench \d+\.\d+\.\d+\n", run_cli("--version").out)


def test_the_table_of_norms(run_cli: RunCli) -> None:
    said = run_cli("norms", "--channels", 32)
    assert said.status == 0
    for name in NORMS:
        assert re.search(rf"^[│|] {name} ", said.out, re.MULTILINE), name
    for text in ("(N, H, W)", "(C, H, W)", "64", "groups=8", "momentum=0.1"):
        assert text in said.out
    odd = run_cli("norms", "--channels", 12)
    assert odd.status == 0, "eight groups do not divide 12 channels: that is said in its row"
    assert "does not divide" in odd.out


# Studies.


def test_plan(run_cli: RunCli, study: Write, tmp_path: Path) -> None:
    rule = {"when": {"model.norm": "group"}, "reason": "not today"}
    path = study(grid={"model.norm": ["none", "batch", "group"], "data.batch_size": [8, 16]}, seeds=2, skip=[rule])
    said = run_cli("plan", path, "--runs", tmp_path, "--workers", 2)
    assert said.status == 0
    assert "small: Which norm?" in said.out
    for run in make_plan(load_study(path)).runs:
        assert re.search(rf"{run.id}  to do  norm {run.cell['model.norm']}, batch_size \d+, seed {run.seed}", said.out)
    assert "skipped           norm group, batch_size 8: not today" in said.out
    assert "8 runs (4 cells, 2 seeds), 2 cells skipped, 0 runs done, 8 to do: about" in said.out
    assert "with 2 workers (a rough figure: nothing of this study has run yet)" in said.out
    assert not (tmp_path / "small").exists(), "a plan writes nothing"


def test_status_of_every_state(run_cli: RunCli, study: Write, tmp_path: Path) -> None:
    path = study(grid={"model.norm": ["none", "batch", "layer", "ghost"]})
    runs = {run.cell["model.norm"]: tmp_path / "small" / run.id for run in make_plan(load_study(path)).runs}
    assert "small: 4 waiting, 0 cells skipped" in run_cli("status", path, "--runs", tmp_path).out
    for norm in ("none", "batch", "layer"):
        runs[norm].mkdir(parents=True)
        (runs[norm] / LOCK).touch()
    (runs["none"] / RESULT).write_text("{}")
    (runs["batch"] / "error.txt").write_text("Traceback\n  somewhere\nValueError: it is so\n")
    said = run_cli("status", path, "--runs", tmp_path)
    assert said.status == 0
    assert re.search(rf"failed      {runs['batch'].name}  norm batch, seed 0: ValueError: it is so\n", said.out)
    assert re.search(rf"interrupted {runs['layer'].name}  norm layer, seed 0\n", said.out)
    assert "small: 1 done, 1 failed, 1 interrupted, 1 waiting, 0 cells skipped" in said.out


def test_train_writes_a_folder_and_does_not_train_twice(run_cli: RunCli, tmp_path: Path) -> None:
    said = run_cli("train", *TINY, f"--runs={tmp_path}")
    assert said.status == 0
    assert "test_accuracy" in said.out
    (folder,) = (tmp_path / "single").iterdir()
    assert str(folder) in said.out
    assert json.loads((folder / RESULT).read_text())["run_id"] == folder.name
    before = (folder / RESULT).stat().st_mtime_ns
    again = run_cli("train", *TINY, f"--runs={tmp_path}")
    assert again.out == said.out
    assert (folder / RESULT).stat().st_mtime_ns == before
    named = run_cli("train", *TINY, f"--folder={tmp_path / 'here'}", "--seed=1")
    assert named.status == 0
    assert (tmp_path / "here" / RESULT).exists()


def test_train_says_where_it_diverged(run_cli: RunCli, tmp_path: Path) -> None:
    said = run_cli("train", *TINY, f"--runs={tmp_path}", "--optimizer.lr=1e30", "--model.norm=none")
    assert said.status == 0
    assert re.search(r"diverged at step \d of 4", said.out)


def test_a_run_that_another_process_trains_is_left_alone(run_cli: RunCli, tmp_path: Path) -> None:
    from normbench.store.folder import claimed

    with claimed(tmp_path / "run"):
        said = run_cli("train", *TINY, f"--folder={tmp_path / 'run'}")
    assert said.status == 1
    assert "is being trained by another process: wait for it" in said.error


# What is wrong is said in one line.

WRONG_TRAIN: list[tuple[list[str], str]] = [
    (["--model.norm=bach"], r"unknown norm 'bach': did you mean 'batch'\? known: batch, ghost, group"),
    (["--model.name=cnnn"], r"unknown model 'cnnn': did you mean 'cnn'\?"),
    (["--data.name=mnits"], r"unknown data set 'mnits': did you mean 'mnist'\?"),
    (["--model.nrom=batch"], r"unknown configuration key 'model\.nrom': did you mean 'model\.norm'\?"),
    (["--data.batch_size=big"], r"data\.batch_size=big: expected a whole number"),
    (["--data.batch_size=0"], r"data\.batch_size=0 is not positive: choose 1 or more"),
    (["--data.batch_size=4000"], r"batch_size=4000 is larger than the 3,500 training images of mnist_5k: choose"),
    (
        ["--model.norm=group", "--model.norm_options.groups=3"],
        r"groups=3 does not divide 8 channels: choose one of 1, 2",
    ),
    (["--model.norm=instance"], r"norm 'instance' has nothing to average on the output of a linear layer .*choose"),
    (
        ["--model.norm=batch", "--data.batch_size=1"],
        r"norm 'batch' has one value for each statistic .*: choose a larger",
    ),
    (["--optimizer.name=adm"], r"expected one of sgd, adam, adamw; did you mean 'adam'\?"),
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


WRONG_STUDY: list[tuple[dict[str, Any], str]] = [
    ({"grid": {}}, r"'grid' is missing or empty"),
    ({"grid": {"model.norm": []}}, r"grid\.model\.norm has no values: give a list"),
    ({"grid": {"model.norm": ["batch", "batch"]}}, r"grid\.model\.norm has 'batch' twice: keep one"),
    ({"grid": {"model.nrom": ["batch"]}}, r"unknown configuration key 'model\.nrom': did you mean 'model\.norm'\?"),
    (
        {"grid": {"model.norm": ["batch", "bacth"]}},
        r"cell model\.norm=bacth: unknown norm 'bacth': did you mean 'batch'",
    ),
    (
        {"grid": {"model.norm": ["batch", "instance"]}},
        r"cell model\.norm=instance: .*or leave the cell out with a skip",
    ),
    ({"base": {"data": {"batch_size": 4_000, "name": "mnist_5k"}}}, r"batch_size=4000 is larger than"),
    ({"compare": {"factor": "norm", "baseline": "batch"}}, r"compare\.factor: unknown axis 'norm'"),
]


@pytest.mark.parametrize("command", ["plan", "run", "status"])
@pytest.mark.parametrize(("changes", "said"), WRONG_STUDY)
def test_a_wrong_study_is_one_line_and_status_2(
    run_cli: RunCli, study: Write, tmp_path: Path, command: str, changes: dict[str, Any], said: str
) -> None:
    answer = run_cli(command, study(**changes), "--runs", tmp_path / "runs")
    assert answer.status == 2
    assert re.match(rf"normbench: error: {tmp_path}/study\.yaml: .*{said}", answer.error), answer.error


def test_a_duplicate_axis_is_named_with_its_line(run_cli: RunCli, study: Write) -> None:
    path = study()
    path.write_text(path.read_text().replace("grid:\n", "grid:\n  model.norm: [layer]\n"))
    answer = run_cli("plan", path)
    assert answer.status == 2
    assert re.search(r"study\.yaml, line \d+: 'model\.norm' is given twice: keep one", answer.error)


def test_an_unknown_study_is_named(run_cli: RunCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "batch_size.yaml").touch()
    monkeypatch.chdir(tmp_path)
    answer = run_cli("run", "batchsize")
    assert answer.status == 2
    assert "unknown study 'batchsize': did you mean 'batch_size'? known: batch_size" in answer.error
    answer = run_cli("run", "nowhere/x.yaml")
    assert answer.status == 2
    assert "no study at nowhere/x.yaml: check the path" in answer.error


@pytest.mark.parametrize(
    "words", [[], ["rnu"], ["run"], ["plan", "x", "--workers", "0"], ["norms", "--channels", "-1"]]
)
def test_a_wrong_command_is_status_2(run_cli: RunCli, words: list[str]) -> None:
    answer = run_cli(*words)
    assert answer.status == 2
    assert "Traceback" not in answer.err
    assert answer.err.strip().splitlines()[-1].startswith("normbench")


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
    assert answer.error.startswith(f"normbench: error: {raw / FILES[3 if how == 'missing' else 0]} ")
    assert {"truncated": "expected 47,040,016", "foreign": "another file", "missing": "is missing"}[how] in answer.error
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
    (tmp_path / "file").touch()
    for words in (["train", *TINY, f"--runs={tmp_path / 'file'}"], ["run", study(), "--runs", tmp_path / "file"]):
        answer = run_cli(*words)
        assert answer.status == 1
        assert re.search(r"cannot write .*file.*: Not a directory; free some space or name another", answer.error)


@pytest.mark.parametrize("text", ['{"layout": 1, "met', '{"layout": 0}'])
def test_a_broken_or_older_result_is_named_before_anything_is_trained(
    run_cli: RunCli, study: Write, tmp_path: Path, text: str
) -> None:
    path = study()
    folder = tmp_path / "small" / make_plan(load_study(path)).runs[0].id
    folder.mkdir(parents=True)
    (folder / RESULT).write_text(text)
    answer = run_cli("run", path, "--runs", tmp_path)
    assert answer.status == 1
    assert re.search(rf"{folder / RESULT} (is not a whole JSON object: delete|has layout 0, .*: move)", answer.error)
    assert [entry.name for entry in (tmp_path / "small").iterdir()] == [folder.name]


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


# Mistakes of the program itself.


def test_an_unexpected_error_is_one_line_too(run_cli: RunCli, monkeypatch: pytest.MonkeyPatch, study: Write) -> None:
    def broken(name: Any) -> None:
        raise ZeroDivisionError("two\nlines")

    monkeypatch.setattr("normbench.study.load_study", broken)
    answer = run_cli("plan", study())
    assert answer.status == 1
    assert answer.error == "normbench: error: ZeroDivisionError: two lines (--debug shows where)"
    with pytest.raises(ZeroDivisionError):
        run_cli("plan", study(), "--debug")


def test_debug_shows_the_traceback(cli_process: RunCli, tmp_path: Path) -> None:
    for words in (["plan", "nowhere.yaml"], ["train", "--model.nrom=x"]):
        plain, debug = cli_process(*words), cli_process(*words, "--debug")
        assert plain.status == 2
        assert plain.error.startswith("normbench: error: ")
        assert "Traceback" in debug.err
        assert debug.status != 0


def test_ctrl_c_is_status_130(run_cli: RunCli, monkeypatch: pytest.MonkeyPatch, study: Write) -> None:
    def stop(name: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("normbench.study.load_study", stop)
    answer = run_cli("plan", study())
    assert (answer.status, answer.error) == (130, "stopped")


def test_a_reader_that_goes_away_is_no_error(study: Write, tmp_path: Path) -> None:
    rates = [i / 1e3 for i in range(1, 50)]
    path = study(grid={"model.norm": ["none", "batch"], "optimizer.lr": rates, "optimizer.weight_decay": rates})
    command = [sys.executable, "-m", "normbench", "plan", str(path), "--runs", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=dict(os.environ))
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    assert process.wait(timeout=60) == 0
