"""What holds for every command: fast answers, one line with the culprit and the remedy, exit statuses."""

import io
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from normbench.cli.main import run_command
from normbench.output import tolerate_encodings
from normbench.spec import parse_yaml

from ..conftest import REPOSITORY, RunCli
from .conftest import Write

COMMANDS = ["train", "plan", "run", "status", "report", "tables", "plots", "compare", "evaluate", "migrate"]
COMMANDS += ["norms", "models", "datasets", "optimizers", "probes", "wandb", "largest-rate"]


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
    for command in (*COMMANDS, "exit status"):
        assert command in answer.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(run_cli: RunCli, command: str) -> None:
    said = run_cli(command, "--help")
    assert said.status == 0
    assert f"normbench {command}" in said.out


def test_version(run_cli: RunCli) -> None:
    assert re.fullmatch(r"normbench \d+\.\d+\.\d+\n", run_cli("--version").out)


@pytest.mark.parametrize(
    "words", [[], ["rnu"], ["run"], ["plan", "x", "--workers", "0"], ["norms", "--channels", "-1"]]
)
def test_a_wrong_command_is_status_2(run_cli: RunCli, words: list[str]) -> None:
    answer = run_cli(*words)
    assert answer.status == 2
    assert "Traceback" not in answer.err
    assert answer.err.strip().splitlines()[-1].startswith("normbench")


NOBODY = "~nobody-of-that-name/it"


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["plan", "STUDY", "--runs", NOBODY], "--runs: "),
        (["train", "--data.name", "mnist_5k", "--runs", NOBODY], "--runs "),
        (["train", "--config", NOBODY], "--config "),
        (["train", "--plugins", f"[{NOBODY}]"], "plugin "),
        (["run", "STUDY", "--machine", NOBODY], "--machine: "),
    ],
)
def test_a_home_that_is_not_there_is_named(run_cli: RunCli, study: Write, words: list[str], named: str) -> None:
    """`RuntimeError: Could not determine home directory.` was all that was said."""
    answer = run_cli(*(study() if word == "STUDY" else word for word in words))
    assert answer.status == 2
    said = answer.err.splitlines()[-1]
    assert said.startswith("normbench")
    assert said.endswith(f"{named}{NOBODY}: there is no such home folder: write the whole path")


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


STATUSES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


def sent_while_imported(number: signal.Signals, before: str = "") -> tuple[int, str]:
    """Status and stderr of `normbench --version` that is sent a signal while the command line is imported."""
    code = (
        "import os, signal, sys, normbench.__main__ as entry\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it, nohup the next\n"
        "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
        f"{before}\n"
        "class Sent:\n"
        "    def find_spec(self, name, *others):\n"
        f"        if name == 'normbench.cli.main': os.kill(os.getpid(), {int(number)})\n"
        "sys.meta_path.insert(0, Sent()); sys.argv = ['normbench', '--version']; entry.main()"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=20)
    return answer.returncode, answer.stderr


@pytest.mark.parametrize("number", STATUSES)
def test_a_signal_while_the_command_line_is_imported_has_its_status_too(number: signal.Signals) -> None:
    """SIGTERM ended it with -15 and without a word."""
    assert sent_while_imported(number) == (STATUSES[number], "stopped\n")


def test_what_nohup_has_ignored_stays_ignored() -> None:
    assert sent_while_imported(signal.SIGHUP, "signal.signal(signal.SIGHUP, signal.SIG_IGN)") == (0, "")


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
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    assert process.wait(timeout=60) == 0


ENTRY = "import os, sys, normbench.__main__ as entry; sys.argv = ['normbench', *{words}]; entry.main()"


def ended(words: list[str], **streams: Any) -> tuple[int, str]:
    """Status and stderr of a command whose standard output is none of a terminal, a file or a pipe that is read."""
    command = [sys.executable, "-c", ENTRY.format(words=words)]
    streams = {"stderr": subprocess.PIPE, **streams}
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    answer = subprocess.run(command, cwd=REPOSITORY, text=True, check=False, timeout=60, env=environment, **streams)
    return answer.returncode, answer.stderr


@pytest.fixture(params=["--version", "datasets"], ids=["print", "table"])
def words(request: pytest.FixtureRequest) -> list[str]:
    return [request.param]


def test_a_reader_that_was_never_there_is_no_error(words: list[str]) -> None:
    """Python's own end found it: status 120 and `Exception ignored`, or 1 where rich printed."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as pipe:
        assert ended(words, stdout=pipe) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_under_standard_output_is_one_line(words: list[str]) -> None:
    """Python's own end found it: status 120 and `Exception ignored`."""
    with Path("/dev/full").open("wb") as full:
        said = "normbench: error: standard output cannot be written: No space left on device\n"
        assert ended(words, stdout=full) == (1, said)


def test_closed_standard_output_is_nowhere_to_print_to(words: list[str]) -> None:
    """`AttributeError: 'NoneType' object has no attribute 'isatty'` was all that `normbench norms >&-` said."""
    assert ended(words, preexec_fn=lambda: os.close(1)) == (0, "")


def test_a_process_outlives_who_reads_its_messages() -> None:
    """`run STUDY 2>&1 | head -1` ended with 0 at its second message, and had trained nothing."""
    code = (
        "import sys; from normbench.output import outlive_readers; outlive_readers()\n"
        "for line in range(3): print(line, file=sys.stderr); print(line, flush=True)\n"
        "sys.exit(7)"
    )
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as pipe:
        process = subprocess.run([sys.executable, "-c", code], stdout=pipe, stderr=pipe, check=False, timeout=60)
    assert process.returncode == 7


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_any_terminal_takes_any_words(cli_process: RunCli, study: Write, encoding: str) -> None:
    path = study(question="Größer − kleiner … ±1 × 字?")
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    said = cli_process("plan", path, env=environment, encoding=encoding)
    assert (said.status, said.err) == (0, "")
    assert "kleiner ... " in said.out
    for command in ("norms",):
        assert cli_process(command, env=environment, encoding=encoding).status == 0
    wrong = cli_process("plan", study(name="größe−"), env=environment, encoding=encoding)
    assert wrong.status == 2
    assert "becomes a folder" in wrong.error


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_configuration_printed_on_any_terminal_is_the_same_run(
    run_cli: RunCli, encoding: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`größe` was printed as `gr??e`, which `--config` then took for what was meant."""
    terminal = io.TextIOWrapper(printed := io.BytesIO(), encoding=encoding, write_through=True)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", terminal)
        assert run_command(["train", "--logger.tags", "[größe, 字]", "--print_config"]) == 0
    (path := tmp_path / "run.yaml").write_bytes(printed.getvalue())
    assert parse_yaml(path.read_text(encoding="utf-8"), "")["logger"]["tags"] == ["größe", "字"]
    assert run_cli("train", "--config", path, "--print_config").out.count("[größe, 字]") == 1


def test_characters_that_an_encoding_lacks_are_the_nearest_ones() -> None:
    tolerate_encodings()
    assert "a − b … ± 字".encode("ascii", errors="normbench") == b"a - b ... +- ?"
    assert "é ±".encode("latin-1", errors="normbench") == "é ±".encode("latin-1")


@pytest.mark.parametrize("word", ["--debug", "--help"])
def test_options_before_and_after_the_command(run_cli: RunCli, study: Write, word: str) -> None:
    assert run_cli("plan", study(), word).status == 0
