"""Nothing but the configuration reaches a number, and what ran is what is recorded."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from operator import attrgetter
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch

from normbench import environ
from normbench.errors import UsageError
from normbench.spec import resolve
from normbench.stops import HungUp, Terminated
from normbench.train.environment import code_digest, environment, git_commit
from normbench.train.settings import process_settings, settings_in_force
from normbench.train.stopping import signals_as_exceptions
from normbench.train.trainer import build_trainer, without_trainer_variables
from tests.conftest import git, start_words

from .runs import folder_of, lasting, tiny, trained

VARIABLES = {
    "LIMIT_TEST_BATCHES": "1",
    "LIMIT_TRAIN_BATCHES": "3",
    "LIMIT_VAL_BATCHES": "0",
    "MAX_TIME": "{'milliseconds': 1}",
    "MIN_STEPS": "40",
    "BAREBONES": "True",
    "SYNC_BATCHNORM": "True",
    "DETECT_ANOMALY": "True",
    "GRADIENT_CLIP_VAL": "0.001",
    "RELOAD_DATALOADERS_EVERY_N_EPOCHS": "1",
    "INFERENCE_MODE": "False",
    "BENCHMARK": "True",
    "PROFILER": "simple",
}


@pytest.mark.parametrize("name", VARIABLES)
def test_no_variable_of_the_trainer_reaches_a_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, clean: dict[str, Any]
) -> None:
    monkeypatch.setenv(f"PL_TRAINER_{name}", VARIABLES[name])
    assert lasting(trained(tiny(), tmp_path)) == clean
    assert os.environ[f"PL_TRAINER_{name}"] == VARIABLES[name], "and the variable is left as it was"


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return lasting(trained(tiny(), tmp_path_factory.mktemp("clean")))


def test_every_argument_of_a_trainer_is_hidden_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import inspect

    names = inspect.signature(pl.Trainer.__init__).parameters
    for name in names:
        monkeypatch.setenv(f"PL_TRAINER_{name.upper()}", "1")
    with without_trainer_variables():
        assert not [name for name in os.environ if name.startswith("PL_TRAINER_")]
    assert os.environ["PL_TRAINER_DEVICES"] == "1"


@pytest.mark.parametrize(
    "around",
    [lambda: torch.autocast("cpu", torch.bfloat16), torch.inference_mode, torch.no_grad, lambda: torch.device("meta")],
    ids=["autocast", "inference", "no_grad", "device"],
)
def test_a_mode_of_the_caller_does_not_reach_the_run(
    tmp_path: Path, clean: dict[str, Any], around: Callable[[], AbstractContextManager[Any]]
) -> None:
    with around():
        result = trained(tiny(), tmp_path)
    assert lasting(result) == clean


@pytest.mark.skipif(not hasattr(torch.backends, "fp32_precision"), reason="this torch has no fp32_precision")
@pytest.mark.parametrize("where", ["", "mkldnn", "mkldnn.conv", "mkldnn.matmul"])
def test_float32_is_float32_whatever_the_caller_chose(where: str) -> None:
    holder = attrgetter(where)(torch.backends) if where else torch.backends
    draw = torch.Generator().manual_seed(0)
    x, w = torch.randn(8, 8, 16, 16, generator=draw), torch.randn(8, 8, 3, 3, generator=draw)
    m = torch.randn(64, 64, generator=draw)
    right = torch.conv2d(x.double(), w.double()), m.double() @ m.double()
    before = holder.fp32_precision
    holder.fp32_precision = "bf16"
    try:
        with process_settings(threads=1, deterministic=False):
            found = torch.conv2d(x, w), m @ m
            assert settings_in_force()["tf32"] is False
        assert holder.fp32_precision == "bf16", "and it is put back"
    finally:
        holder.fp32_precision = before
    for one, other in zip(found, right, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-4)


def test_a_precision_that_the_device_does_not_have_is_refused() -> None:
    import dataclasses

    config = resolve(tiny())
    forced = dataclasses.replace(config, trainer=dataclasses.replace(config.trainer, precision="16-mixed"))
    with pytest.raises(UsageError, match="computes bf16-mixed instead"):
        build_trainer(forced, [], 1)
    with pytest.raises(UsageError, match="16-mixed"):
        resolve(tiny(**{"trainer.precision": "16-mixed"}))


def test_settings_of_the_process_are_set_recorded_and_put_back() -> None:
    cudnn = torch.backends.cudnn
    before = settings_in_force()
    cudnn.benchmark, kept = True, cudnn.benchmark
    try:
        with process_settings(threads=2, deterministic=True):
            inside = {"threads": 2, "deterministic": True, "tf32": False, "cudnn_benchmark": False}
            inside["flush_denormal"] = True
            assert settings_in_force() == inside
        assert cudnn.benchmark
    finally:
        cudnn.benchmark = kept
    assert settings_in_force() == before


def test_threads_are_those_of_the_configuration(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    result = trained(tiny(**{"trainer.threads": 2, "budget.steps": 2}), tmp_path)
    assert result["environment"]["threads"] == 2
    assert torch.get_num_threads() == 1


# Code and machine.


def package(root: Path) -> Path:
    (root / "normbench").mkdir(parents=True)
    (root / "normbench" / "__init__.py").write_text("")
    return root


def test_a_checkout_in_a_folder_whose_name_is_not_utf_8_has_a_commit(tmp_path: Path) -> None:
    own = package(tmp_path / os.fsdecode(b"caf\xe9"))
    git(own, "init", "--quiet")  # it tells the folder
    git(own, "add", ".")
    git(own, "commit", "-m", "one")
    git_commit.cache_clear()
    assert git_commit(own) == git(own, "rev-parse", "HEAD")


def test_the_commit_is_that_of_the_own_checkout_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = package(tmp_path / "own")
    git(own, "init")
    git_commit.cache_clear()
    assert git_commit(own) is None, "it tracks nothing"
    git(own, "add", ".")
    git(own, "commit", "-m", "one")
    commit = git(own, "rev-parse", "HEAD")
    git_commit.cache_clear()
    assert git_commit(own) == commit
    (own / "normbench" / "__init__.py").write_text("x = 1\n")
    git_commit.cache_clear()
    assert git_commit(own) == commit + "+"

    around = tmp_path / "around"
    site = package(around / "venv" / "site-packages")
    git(around, "init")
    git(around, "add", ".")
    git(around, "commit", "-m", "a user's repository")
    assert git_commit(site) is None
    monkeypatch.setenv("GIT_DIR", str(around / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(around))
    git_commit.cache_clear()
    assert git_commit(own) == commit + "+"
    assert git_commit(package(tmp_path / "nowhere")) is None


def test_the_code_digest_follows_what_computes(tmp_path: Path) -> None:
    for name in ("seeds.py", "train/run.py", "norms/batch.py", "report/page.py"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"one\n")

    def digest() -> str:
        code_digest.cache_clear()
        return code_digest(tmp_path)

    first = digest()
    (tmp_path / "report" / "page.py").write_bytes(b"two\n")
    (tmp_path / "seeds.py").write_bytes(b"one\r\n")
    assert digest() == first, "neither a report nor a line ending computes"
    (tmp_path / "norms" / "batch.py").write_bytes(b"two\n")
    assert digest() != first
    code_digest.cache_clear()


def test_an_environment_names_no_person() -> None:
    found = environment(torch.device("cpu"))
    assert found["device"] == "cpu"
    assert found["code"] == code_digest()
    home = os.path.expanduser("~")  # noqa: PTH111
    assert not any(home in str(value) for value in found.values() if home != "/")


def test_settings_that_choose_a_processors_code_are_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """They round otherwise, under the same id."""
    for name in environ.PROCESSOR:
        monkeypatch.delenv(name, raising=False)
    found = environment(torch.device("cpu"))
    assert found["processor_settings"] == ""
    assert found["instructions"] == torch.backends.cpu.get_cpu_capability()
    monkeypatch.setenv("MKL_CBWR", "COMPATIBLE")
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "default")
    with environ.cleaned():
        kept = environment(torch.device("cpu"))
    assert kept["processor_settings"] == "ATEN_CPU_CAPABILITY=default, MKL_CBWR=COMPATIBLE"


# Signals.

PROCESS = """
import json, sys
from pathlib import Path
from normbench.stops import Stopped
from normbench.spec import run_config
from normbench.train import train
try:
    train(run_config(json.loads(sys.argv[1])), Path(sys.argv[2]), lambda step: print(step, flush=True))
except KeyboardInterrupt:
    sys.exit(130)
except Stopped as end:
    sys.exit(end.exit_status)
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_a_run_as_what_it_is(tmp_path: Path, number: signal.Signals, status: int) -> None:
    import json

    from .runs import TINY

    keys = TINY | {"budget.steps": 100_000, "trainer.checkpoints": 10_000}
    folder = folder_of(tiny(**{key: keys[key] for key in ("budget.steps", "trainer.checkpoints")}), tmp_path)
    process = start_words([sys.executable, "-c", PROCESS, json.dumps(keys), str(folder)], stderr=None)
    try:
        assert process.stdout is not None
        assert any(int(line) >= 25 for line in process.stdout)
        process.send_signal(number)
        process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == status
    assert not (folder / "result.json").exists()
    assert (folder / "checkpoint.ckpt").exists()


def test_handlers_are_put_back_and_a_programs_own_stays() -> None:
    def own(number: int, frame: Any) -> None:
        raise Terminated("mine")

    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    ignored = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # by nohup
    before = [signal.getsignal(number) for number in numbers]
    for number, kind in ((signal.SIGTERM, Terminated), (signal.SIGHUP, HungUp)):
        with pytest.raises(kind), signals_as_exceptions():
            signal.raise_signal(number)
    assert [signal.getsignal(number) for number in numbers] == before
    signal.signal(signal.SIGTERM, own)
    try:
        with pytest.raises(Terminated, match="mine"), signals_as_exceptions():
            signal.raise_signal(signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) is own
    finally:
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGHUP, ignored)


def test_what_lightning_makes_of_ctrl_c_is_undone() -> None:
    def exits() -> None:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            sys.exit(1)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), signals_as_exceptions():
        exits()
    assert signal.getsignal(signal.SIGINT) is before
    with pytest.raises(SystemExit), signals_as_exceptions():
        sys.exit(3)


def test_a_thread_can_train(tmp_path: Path) -> None:
    results: list[dict[str, Any]] = []
    thread = threading.Thread(target=lambda: results.append(trained(tiny(**{"budget.steps": 2}), tmp_path)))
    thread.start()
    deadline = time.monotonic() + 60
    while thread.is_alive() and time.monotonic() < deadline:
        thread.join(0.1)
    assert results[0]["steps"] == 2
