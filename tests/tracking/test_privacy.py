"""Nothing that leaves the machine names its folders, its user or its host."""

from __future__ import annotations

import getpass
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from normbench.privacy import file_name, without_paths, without_places
from normbench.spec import resolve, run_config, run_id
from normbench.spec.registry import NORMS
from normbench.store import Store
from normbench.tracking.mirror import Mirror
from normbench.tracking.push import push
from tests.tracking.conftest import SMALL, expected_rows, made_up, train_mirrored
from tests.tracking.fake_server import FakeWandb
from tests.tracking.offline import offline_bytes, offline_folders

PLUGIN = '''
from torch import nn
from normbench import register_norm

@register_norm("private_norm")
class PrivateNorm(nn.Module):
    """Does nothing."""

    def __init__(self, num_channels):
        super().__init__()

    def forward(self, x):
        return x
'''


class Secrets:
    """A machine whose folders, user and host are words found nowhere else."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.home = tmp_path / "homeofada" / "ada lovelace"
        self.temporary = tmp_path / "tmpofada"
        self.data = self.home / "secretdata"
        self.plugins = self.home / "secretplugins"
        for folder in (self.home, self.temporary, self.data, self.plugins):
            folder.mkdir(parents=True)
        self.plugin = self.plugins / "private_norm.py"
        self.plugin.write_text(PLUGIN)
        for known in (NORMS._entries, sys.modules):  # another test's file registers the same
            for name in [name for name in known if "private_norm" in name]:
                monkeypatch.delitem(known, name)
        monkeypatch.setenv("HOME", str(self.home))
        monkeypatch.setenv("TMPDIR", str(self.temporary))
        monkeypatch.setattr(tempfile, "tempdir", None)
        for name in ("USER", "LOGNAME", "USERNAME", "WANDB_USERNAME"):
            monkeypatch.setenv(name, "adasname")
        for name in ("HOSTNAME", "HOST", "WANDB_HOST"):
            monkeypatch.setenv(name, "adashost")
        monkeypatch.setattr(socket, "gethostname", lambda: "adashost")
        # The real names of this machine, where they are words that could not be anything else.
        real = {socket.getfqdn(), os.uname().nodename, getpass.getuser()} - {"localhost", "root", ""}
        words = ["homeofada", "lovelace", "tmpofada", "secretplugins", "adasname", "adashost"]
        self.words = [*words, *(word for word in real if len(word) > 4), str(tmp_path)]

    def found_in(self, content: bytes) -> list[str]:
        """Which of them `content` holds."""
        return [word for word in self.words if word.encode() in content]


@pytest.fixture
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Secrets:
    """Words that must not leave."""
    return Secrets(tmp_path, monkeypatch)


@pytest.fixture
def private(secrets: Secrets) -> dict[str, object]:
    """Keys of a run that says where things are."""
    return {
        **SMALL,
        "model.norm": "private_norm",
        "data.dir": str(secrets.data),
        "plugins": [str(secrets.plugin)],
        "logger.histograms": 2,
        "logger.misclassified": 2,
        "logger.tags": ["mine"],
    }


def test_an_online_run_says_nothing_of_the_machine(
    fake: FakeWandb, secrets: Secrets, private: dict[str, object], tmp_path: Path
) -> None:
    config = resolve(run_config(private))
    folder, result = train_mirrored(config, tmp_path / "runs", study="quiet", cell={"norm": "private_norm"})
    assert result["config"]["plugins"] == [str(secrets.plugin)]  # here, the paths are what starts an equal run
    assert result["config"]["data"]["dir"] == str(secrets.data)
    run = fake.runs[folder.id]
    assert run.rows[-1]["media/misclassified"]
    assert run.plain_config["plugins"] == run.summary["config"]["plugins"] == ["private_norm.py"]
    assert run.plain_config["data"]["dir"] is run.summary["config"]["data"]["dir"] is None
    assert fake.received
    for request in fake.received:
        assert secrets.found_in(request) == [], request[:2000]


def test_a_pushed_run_says_nothing_of_the_machine(
    fake: FakeWandb, secrets: Secrets, private: dict[str, object], store: Store
) -> None:
    config = resolve(run_config(private))
    environment = {"device": "cpu", "note": f"read {secrets.data}/x.gz", "file": str(secrets.home / "a" / "b.txt")}
    folder = made_up(store, config, environment=environment)
    store.record("quiet", [folder.id])
    assert [pushed.state for pushed in push(store, "quiet")] == ["finished"]
    assert fake.runs[folder.id].summary["environment"] == {
        "device": "cpu",
        "note": "read secretdata/x.gz",
        "file": "b.txt",
    }
    for request in fake.received:
        assert secrets.found_in(request) == [], request[:2000]


def test_an_offline_run_says_nothing_of_the_machine_and_nor_does_its_sync(
    start_fake: Callable[..., FakeWandb],
    secrets: Secrets,
    private: dict[str, object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NORMBENCH_WANDB", "offline")
    folder, _ = train_mirrored(resolve(run_config(private)), tmp_path / "runs", study="quiet")
    content = offline_bytes(folder.path)
    assert b"private_norm.py" in content
    assert secrets.found_in(content) == []
    fake = start_fake()
    monkeypatch.delenv("WANDB_USERNAME")  # who sets it for `wandb sync` wants it sent
    command = [sys.executable, "-m", "wandb", "sync", str(offline_folders(folder.path)[0])]
    subprocess.run(command, check=True, timeout=60, capture_output=True, cwd=tmp_path)
    run = fake.runs[folder.id]
    plain = [{key: value for key, value in row.items() if key.split("/")[0] not in MEDIA} for row in run.rows]
    assert plain == expected_rows(folder)
    for request in fake.received:
        assert secrets.found_in(request) == [], request[:2000]


MEDIA = {"media", "activations", "gradients"}


def test_a_mirror_reads_and_writes_nothing_before_it_runs(private: dict[str, object], tmp_path: Path) -> None:
    config = resolve(run_config(private))
    Mirror(config, tmp_path / "runs" / run_id(config), 24)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("dir: /data/sets/mnist", "dir: mnist"),
        ("plugins: [norms/rms.py, ~/work/ln.py]", "plugins: [norms/rms.py, ln.py]"),
        (r"C:\Users\ada\digits.npz", "digits.npz"),
        ("see https://example.org/a/b and/or 1/2 of 3 / 4", "see https://example.org/a/b and/or 1/2 of 3 / 4"),
        ("train/loss", "train/loss"),
    ],
)
def test_running_text(text: str, shown: str) -> None:
    assert without_paths(text) == shown


def test_paths_with_spaces_below_a_known_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/Users/Ada Lovelace")
    assert without_paths("dir: /Users/Ada Lovelace/sets/mnist # mine") == "dir: sets/mnist # mine"
    assert without_places({"options": {"file": "/Users/Ada Lovelace/a b.npz"}}) == {"options": {"file": "a b.npz"}}


def test_values_that_are_no_places_stay() -> None:
    tree = {"lr": 0.1, "tags": ["a/b"], "none": None, "name": "relu", "slash": "/", "deep": {"list": [1, [True]]}}
    assert without_places(tree) == tree
    assert file_name("a/b.py") == "b.py"
