"""`normbench merge`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from ..conftest import RunCli
from .conftest import TINY


@pytest.mark.slow
def test_runs_of_two_machines_become_one_folder(run_cli: RunCli, tmp_path: Path) -> None:
    for machine, seed in (("one", 0), ("two", 1), ("two", 0)):
        assert run_cli("train", *TINY, "--seed", seed, "--runs", tmp_path / machine).status == 0
    here = tmp_path / "here"
    said = run_cli("merge", tmp_path / "one", tmp_path / "two", "--runs", here)
    assert said == (0, f"2 copied, 1 same: {here}\n", "")
    (path, *_) = sorted((tmp_path / "two").glob("*/result.json"))
    result = json.loads(path.read_text())
    result["metrics"]["test_accuracy"] = 1.0
    path.write_text(json.dumps(result))
    said = run_cli("merge", tmp_path / "two", "--runs", here)
    assert said.status == 1
    assert f"conflict  {path.parent}: {here / path.parent.name} has test_accuracy" in said.error
    result["config"]["seed"] = 7  # a configuration of another run, which merge would otherwise spread
    path.write_text(json.dumps(result))
    shutil.rmtree(here / path.parent.name)
    said = run_cli("merge", tmp_path / "two", "--runs", here)
    assert said.status == 1
    assert "result.json has a configuration of run" in said.error
    assert not (here / path.parent.name).exists()


def test_a_folder_is_not_joined_to_itself_and_an_empty_one_is_named(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    assert run_cli("merge", tmp_path / "runs", "--runs", tmp_path / "runs").status == 2
    said = run_cli("merge", tmp_path / "runs", "--runs", tmp_path / "here")
    assert said.status == 1
    assert "has no run folders" in said.error
