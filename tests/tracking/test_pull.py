"""Runs logged elsewhere join the results table, exactly."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from normbench.report.evidence import gather
from normbench.store.folder import CONFIG, METRICS, RESULT
from normbench.study import load_study, make_plan
from normbench.train.run import train
from tests.conftest import RunCli
from tests.tracking.conftest import KEY, SMALL
from tests.tracking.fake_server import FakeWandb


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Two norms, one of which diverges, and two seeds."""
    base: dict[str, dict[str, object]] = {}
    for key, value in SMALL.items():
        section, name = key.split(".")
        if key != "model.norm":
            base.setdefault(section, {})[name] = value
    tree = {
        "name": "far",
        "question": "Does it come back?",
        "base": base,
        "grid": {"case": {"sane": {"model.norm": "layer"}, "mad": {"model.norm": "none", "optimizer.lr": 1e30}}},
        "seeds": 2,
        "compare": {"factor": "case", "baseline": "sane"},
    }
    path = tmp_path / "far.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def test_push_and_pull_give_the_same_table(
    fake: FakeWandb, study: Path, tmp_path: Path, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    monkeypatch.setenv("NORMBENCH_WANDB", "off")
    for planned in make_plan(load_study(study)).runs:
        train(planned.config, here / "far" / planned.id)
    monkeypatch.delenv("NORMBENCH_WANDB")
    said = run_cli("wandb", "push", study, "--runs", here)
    assert (said.status, said.out.splitlines()[-1]) == (0, "4 sent")
    assert KEY not in said.out + said.err
    before = {run_id: run.rows for run_id, run in fake.runs.items()}
    assert run_cli("wandb", "push", "far", "--runs", here).status == 0  # the name of the folder does as well
    assert {run_id: run.rows for run_id, run in fake.runs.items()} == before

    command = ("wandb", "pull", "team/normbench", "--study", "far", "--runs", there)
    said = run_cli(*command)
    assert said.status == 0, said.err
    assert said.out.splitlines()[-1] == "4 written"
    assert run_cli(*command).out.splitlines()[-1] == "4 here already"
    for folder in (here / "far").glob("*/"):
        for name in (METRICS, CONFIG):
            assert (there / "far" / folder.name / name).read_bytes() == (folder / name).read_bytes(), name
        for text in ((here / "far" / folder.name / RESULT).read_text(),):
            pulled = json.loads((there / "far" / folder.name / RESULT).read_text())
            assert json.dumps(pulled, sort_keys=True) == json.dumps(json.loads(text), sort_keys=True)
    ours, theirs = gather(study, here).runs, gather(study, there).runs
    assert len(ours) == 4
    assert theirs.to_csv(index=False) == ours.to_csv(index=False)


def test_what_is_not_ours_is_left_out(fake: FakeWandb, tmp_path: Path, run_cli: RunCli) -> None:
    for run_id in ("../../evil", "0123456789abcdef"):
        run = fake.run(run_id)
        run.fields |= {"project": "normbench", "groupName": "far"}
        run.summary = {"layout": 1, "run_id": "another", "config": {}, "metrics": {}}
    said = run_cli("wandb", "pull", "team/normbench", "--study", "far", "--runs", tmp_path / "runs")
    assert said.status == 0
    assert said.out.splitlines()[-1] == "2 left out"
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (("pull", "normbench", "--study", "far"), 2, "is not ENTITY/PROJECT"),
        (("pull", "team/normbench", "--study", "../x"), 2, "is not the name of a study"),
        (("pull", "team/normbench", "--study", "far"), 1, "no API key"),
        (("push", "nowhere"), 2, "unknown study 'nowhere'"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(
    arguments: tuple[str, ...], status: int, says: str, run_cli: RunCli, tmp_path: Path
) -> None:
    said = run_cli("wandb", *arguments, "--runs", tmp_path / "runs")
    assert said.status == status
    assert says in said.error
