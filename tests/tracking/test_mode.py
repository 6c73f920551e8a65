"""Which mode is taken, how fast, and what is said of it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from normbench.errors import UsageError
from normbench.spec import LoggerConfig, replace, run_id, to_dict, yaml_text
from normbench.tracking import client
from normbench.tracking.mode import decide, settled
from tests.conftest import RunCli
from tests.tracking.conftest import KEY, small
from tests.tracking.fake_server import FakeWandb


def test_no_field_of_the_logger_enters_the_identity() -> None:
    plain = small()
    changed = replace(plain, {"logger.wandb": "off", "logger.histograms": 9, "logger.tags": ["x"]})
    assert run_id(plain) == run_id(changed)


def test_without_a_key_auto_is_offline() -> None:
    decision = decide(LoggerConfig())
    assert decision.mode == "offline"
    assert "no API key" in str(decision)


def test_without_a_key_online_is_an_error_that_names_the_remedy() -> None:
    with pytest.raises(UsageError, match="wandb login"):
        decide(LoggerConfig(wandb="online"))


def test_with_a_key_and_a_server_auto_is_online(fake: FakeWandb) -> None:
    assert decide(LoggerConfig(), verify=True).mode == "online"


def test_a_key_in_netrc_counts(start_fake: Callable[..., FakeWandb], monkeypatch: pytest.MonkeyPatch) -> None:
    fake = start_fake()
    monkeypatch.delenv("WANDB_API_KEY")
    Path(os.environ["HOME"], ".netrc").write_text(
        f"machine {fake.url.removeprefix('http://')}\n  login user\n  password {KEY}\n"
    )
    assert decide(LoggerConfig(), verify=True).mode == "online"


def test_a_server_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    assert decide(LoggerConfig()).mode == "offline"


def test_a_server_that_accepts_and_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        decision = decide(LoggerConfig())
    assert decision.mode == "offline"
    assert "does not answer within 2 s" in decision.reason


def test_a_wrong_key_is_found_before_the_study_starts(
    start_fake: Callable[..., FakeWandb], capsys: pytest.CaptureFixture[str]
) -> None:
    start_fake(key="another" + "0" * 40)
    with settled(LoggerConfig()) as decision:
        assert decision.mode == "offline"
    said = capsys.readouterr()
    assert "refuses the API key" in said.err
    assert KEY not in said.out + said.err


def test_a_key_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "short")
    assert "not in the form" in decide(LoggerConfig()).reason


@pytest.mark.parametrize(
    ("variables", "configured", "taken"),
    [
        ({"NORMBENCH_WANDB": "off"}, "online", "off"),
        ({"NORMBENCH_WANDB": "offline", "WANDB_MODE": "disabled"}, "auto", "offline"),
        ({"WANDB_MODE": "disabled"}, "auto", "off"),
        ({"WANDB_MODE": "offline"}, "online", "offline"),
        ({"WANDB_MODE": "dryrun"}, "auto", "offline"),
        ({}, "off", "off"),
    ],
)
def test_what_overrides_what(
    variables: dict[str, str], configured: str, taken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert decide(small(**{"logger.wandb": configured}).logger).mode == taken


def test_a_wrong_override_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NORMBENCH_WANDB", "on")
    with pytest.raises(UsageError, match="NORMBENCH_WANDB=on: expected one of"):
        decide(LoggerConfig())


@pytest.mark.parametrize("mode", ["ofline", "disable", "shared"])
def test_a_wrong_mode_of_wandb_is_named_and_sends_nothing(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", mode)
    with pytest.raises(UsageError, match=f"WANDB_MODE={mode}: expected one of disabled, offline, dryrun"):
        decide(LoggerConfig())
    monkeypatch.setenv("NORMBENCH_WANDB", "off")
    assert decide(LoggerConfig()).mode == "off", "the stronger variable says it"


def test_without_a_home_it_is_off_and_that_is_said(no_home: None) -> None:
    """wandb ended with RuntimeError, and with it every training."""
    assert str(decide(LoggerConfig())) == "wandb: off: there is no home folder for its settings: set HOME"
    with pytest.raises(UsageError, match=r"logger\.wandb=online: there is no home folder"):
        decide(LoggerConfig(wandb="online"))


def test_settled_holds_for_what_is_inside_and_no_longer(capsys: pytest.CaptureFixture[str]) -> None:
    with settled(LoggerConfig()):
        assert os.environ["NORMBENCH_WANDB"] == "offline"
        assert decide(LoggerConfig()).reason == ""
    assert "NORMBENCH_WANDB" not in os.environ
    assert capsys.readouterr().err.count("wandb: offline") == 1


def test_no_key_and_no_terminal(tmp_path: Path, cli_process: RunCli) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(yaml_text(to_dict(small())))
    said = cli_process("train", "--config", path, "--runs", tmp_path, stdin=subprocess.DEVNULL, timeout=60)
    assert said.status == 0, said.err
    lines = [line for line in said.err.splitlines() if line.strip()]
    assert len(lines) == 1
    assert lines[0].startswith("wandb: offline: no API key is configured (`wandb login`)")
    assert len(list(tmp_path.glob("*/wandb/offline-run-*/run-*.wandb"))) == 1


MEDIA = {"logger.histograms": 3, "logger.confusion_matrix": True}
NOT_MADE = "wandb: off: logger.histograms=3, logger.confusion_matrix=True are not made, since only W&B shows that"


def test_media_that_are_asked_for_and_not_made_are_said_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from normbench.tracking.mirror import Mirror

    monkeypatch.setenv("NORMBENCH_WANDB", "off")
    with settled(small(**MEDIA).logger):
        for seed in (0, 1):  # workers, and this process, do not say it again
            assert Mirror(small(seed=seed, **MEDIA), tmp_path / "runs" / "x", 24).callbacks == []
    assert capsys.readouterr().err.splitlines() == [NOT_MADE]
    with settled(small().logger):
        pass
    assert capsys.readouterr().err == ""


def test_a_script_without_a_command_is_told_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from normbench.tracking.mirror import Mirror

    monkeypatch.setenv("NORMBENCH_WANDB", "off")
    for seed in (0, 1):
        Mirror(small(seed=seed, **MEDIA), tmp_path / "runs" / "x", 24)
    assert capsys.readouterr().err.splitlines() == [NOT_MADE]


def test_without_the_package(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    for wish in ("auto", "offline"):
        monkeypatch.setenv("NORMBENCH_WANDB", wish)
        with settled(LoggerConfig()) as decision:
            assert decision.mode == "off"
        said = capsys.readouterr().err
        assert said == f"wandb: off: the package wandb is not installed (pip install '{client.PACKAGES['wandb']}')\n"
    monkeypatch.setenv("NORMBENCH_WANDB", "online")
    with pytest.raises(UsageError, match="the package wandb is not installed"):
        decide(LoggerConfig())


@pytest.mark.skipif(sys.platform == "win32", reason="a pseudo-terminal is a Unix thing")
def test_no_key_on_a_terminal_asks_nothing(tmp_path: Path) -> None:
    import pty

    code = (
        "from normbench.spec import LoggerConfig\n"
        "from normbench.tracking.mode import settled\n"
        "with settled(LoggerConfig()): pass\n"
    )
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-c", code], stdin=theirs, stdout=theirs, stderr=theirs, timeout=30, check=False
    )
    os.close(theirs)
    said = os.read(ours, 4096).decode()
    os.close(ours)
    assert done.returncode == 0
    assert said.startswith("wandb: offline: no API key")
    assert said.count("\n") == 1
