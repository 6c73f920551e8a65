"""What is kept from a training, and what is heard."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from normbench import environ

LEFT_BEHIND = [
    "RANK",
    "LOCAL_RANK",
    "GROUP_RANK",
    "NODE_RANK",
    "WORLD_SIZE",
    "LOCAL_WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
    "SLURM_PROCID",
    "SLURM_JOB_ID",
    "TORCHELASTIC_RUN_ID",
    "OMPI_COMM_WORLD_RANK",
    "PMI_RANK",
    "JSM_NAMESPACE_RANK",
    "PL_TRAINER_LIMIT_TEST_BATCHES",
    "PL_GLOBAL_SEED",
    "WANDB_SWEEP_ID",
    "WANDB_RUN_ID",
    "WANDB_RUN_GROUP",
    "WANDB_NAME",
    "WANDB_RESUME",
    "GIT_DIR",
    "MPLBACKEND",  # a notebook's, which matplotlib in another environment refuses when torchmetrics imports it
    "MATPLOTLIBRC",
    "GLOO_DEVICE_TRANSPORT",
    "NVIDIA_TF32_OVERRIDE",
    "CUBLAS_EMULATE_SINGLE_PRECISION",
    "TORCH_BLAS_PREFER_CUBLASLT",
    "PYTORCH_TUNABLEOP_ENABLED",
    "TORCH_FORCE_WEIGHTS_ONLY_LOAD",
]


@pytest.mark.parametrize("name", LEFT_BEHIND)
def test_it_is_taken_away_and_put_back(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1")
    with environ.cleaned() as removed:
        assert name not in os.environ
        assert removed[name] == "1"
        os.environ[name] = "2"  # as Lightning sets WORLD_SIZE
    assert os.environ[name] == "1"


def test_what_is_documented_is_heard() -> None:
    documented = {name for names in environ.DOCUMENTED for name in names.split(", ")}
    assert environ.foreign(documented) == sorted(environ.NODE)
    assert environ.foreign(documented, keep=environ.NODE) == []
    assert environ.foreign(["HOME", "PATH", "OMP_NUM_THREADS", "PLATFORM", "GITHUB_ACTIONS"]) == []


def test_an_environment_of_others_is_cleaned_in_place() -> None:
    environment = {"HOME": "/", "RANK": "1", "slurm_procid": "0"}
    assert environ.clean(environment) == {"RANK": "1", "slurm_procid": "0"}
    assert environment == {"HOME": "/"}


def test_variables_are_changed_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NORMBENCH_WANDB", "offline")
    monkeypatch.setenv("NODE_RANK", "1")
    monkeypatch.delenv("MASTER_PORT", raising=False)
    values = {"NORMBENCH_WANDB": "off", "NODE_RANK": None, "MASTER_PORT": "1"}
    with environ.changed(values):
        assert {name: os.environ.get(name) for name in values} == values
    assert (os.environ["NORMBENCH_WANDB"], os.environ["NODE_RANK"]) == ("offline", "1")
    assert "MASTER_PORT" not in os.environ


def test_the_cache_is_one_place_for_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for value, place in (("", ".cache"), ("~/kept", "kept"), ("relative/kept", ".cache")):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert environ.cache_folder("norms") == tmp_path / place / "normbench" / "norms"


def test_without_a_home_there_is_no_cache(no_home: None) -> None:
    assert environ.cache_folder("norms") is None
    assert environ.expanded("~") is environ.expanded("~/runs") is None
    assert environ.expanded("/runs") == Path("/runs")
