"""What all tests share. None needs the network: the cache is a temporary folder and every mirror is dead."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torchvision import datasets

from normbench.cli.main import run_command
from normbench.data import module, registry, source
from normbench.data.idx import FILES
from normbench.spec.registry import DATASETS, MODELS, NORMS, OPTIMIZERS, PROBES
from normbench.stops import STOPS

REPOSITORY = Path(__file__).resolve().parent.parent
REGISTRIES = (NORMS, MODELS, DATASETS, OPTIMIZERS, PROBES)
DEAD = "http://127.0.0.1:9/"  # the discard port: nothing answers


class Said(NamedTuple):
    """What a command answered."""

    status: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line on stderr; fails if there are more, or a traceback."""
        lines = self.err.strip().splitlines()
        assert len(lines) == 1, self.err
        assert "Traceback" not in self.err
        return lines[0]


RunCli = Callable[..., Said]


def git(folder: Path, *words: str) -> str:
    """What git answers of a repository in `folder`, whatever the environment and the user's own settings say."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    settings = {"user.name": "a", "user.email": "a@b", "init.defaultBranch": "main", "commit.gpgsign": "false"}
    own = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    command = ["git", "-C", str(folder), *own, *words]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=clean).stdout.strip()


def pytest_configure(config: pytest.Config) -> None:
    # A warning that our own code causes is a mistake of ours.
    config.addinivalue_line("filterwarnings", r"error:::normbench(\..*)?$")


@pytest.fixture(scope="session", autouse=True)
def _offline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """An empty cache, no proxy but a dead one, dead mirrors, one thread. Subprocesses inherit the environment."""
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        for name in ("http_proxy", "https_proxy"):
            patch.setenv(name, DEAD)
        patch.setenv("no_proxy", "127.0.0.1,localhost")
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("NORMBENCH_WANDB", "off")
        for kind in (datasets.MNIST, datasets.FashionMNIST):
            patch.setattr(kind, "mirrors", [DEAD])
        yield


@pytest.fixture
def own_registries() -> Iterator[None]:
    """Takes back what a test's plug-ins registered: tests elsewhere go over all that is."""
    known = {names: set(names) for names in REGISTRIES}
    loaded = set(sys.modules)
    yield
    for names, before in known.items():
        for name in set(names) - before:
            names.remove(name)
    for name in set(sys.modules) - loaded:
        if name.startswith("normbench_plugin_"):  # a plug-in that is loaded again registers anew
            del sys.modules[name]


@pytest.fixture
def fresh_files() -> Iterator[None]:
    """Forgets the images that this process has read, before and after."""
    memories = (registry._in_memory, registry._facts_in_memory, module._in_memory, source._fallen_back)
    for memory in memories:
        memory.clear()
    yield
    for memory in memories:
        memory.clear()


@pytest.fixture(scope="session")
def data_dir() -> Path | None:
    """The folder with the real MNIST files, where the machine has them."""
    folder = os.environ.get("NORMBENCH_DATA_DIR")
    if folder and all((Path(folder) / "MNIST" / "raw" / name).is_file() for name in FILES):
        return Path(folder)
    return None


@pytest.fixture(scope="session")
def real_mnist(data_dir: Path | None) -> Path:
    """The same, for tests that make no sense without them."""
    if data_dir is None:
        pytest.skip("NORMBENCH_DATA_DIR has no MNIST")
    return data_dir


@pytest.fixture(scope="session")
def digits(data_dir: Path | None) -> str:
    """The data set to train on: mnist where its files are, the embedded 5,000 real digits elsewhere."""
    return "mnist" if data_dir else "mnist_5k"


@pytest.fixture
def run_cli(capsys: pytest.CaptureFixture[str]) -> RunCli:
    """Runs a command line in this process."""

    def run(*argv: object) -> Said:
        capsys.readouterr()
        try:
            status = run_command([str(word) for word in argv])
        except SystemExit as end:  # argparse
            status = int(end.code or 0)
        return Said(status, *capsys.readouterr())

    return run


@pytest.fixture
def no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user that the system does not know, without HOME."""
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 7)
    with pytest.raises(RuntimeError):
        Path.home()


def start_cli(*argv: object, **options: Any) -> subprocess.Popen[str]:
    """A command line as a process of its own: see `start_words`."""
    return start_words([sys.executable, "-m", "normbench", *map(str, argv)], **options)


def start_words(words: list[str], **options: Any) -> subprocess.Popen[str]:
    """A process in a session of its own, where signals count, even if the tests run in the background or by nohup."""
    # What such a job ignores, its children do, too.
    before = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGINT, *STOPS)}
    try:
        return subprocess.Popen(
            words,
            text=True,
            start_new_session=True,
            **({"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "cwd": REPOSITORY} | options),
        )
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.fixture
def cli_process() -> RunCli:
    """Runs a command line in a process of its own, to its end."""

    def run(*argv: object, timeout: float = 120, **options: Any) -> Said:
        process = start_cli(*argv, **options)
        try:
            out, err = process.communicate(timeout=timeout)
        finally:
            process.kill()
        return Said(process.returncode, out, err)

    return run
