"""Real wandb client, real HTTP: runs online, offline, resumed, interrupted, side by side."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from normbench.launch.ranks import execute
from normbench.spec.resolve import resolve
from normbench.spec.schema import run_id
from normbench.store.folder import CHECKPOINT, METRICS, RESULT
from normbench.tracking.push import push
from normbench.train.run import train
from tests.conftest import RunCli, start_cli
from tests.tracking.conftest import KEY, expected_rows, small, without_empty
from tests.tracking.fake_server import FakeWandb


def test_an_online_run_arrives_exactly(fake: FakeWandb, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = resolve(small(**{"logger.tags": ["mine"], "logger.project": "norms"}))
    folder = tmp_path / "study" / run_id(config)
    train(config, folder)
    assert list(fake.runs) == [folder.name]
    run, result = fake.runs[folder.name], json.loads((folder / RESULT).read_text())
    assert run.rows == expected_rows(folder)
    assert len(run.rows) == 6 + 2 + 1
    assert run.plain_config == without_empty(result["config"])
    assert run.plain_summary == result
    assert (run.complete, run.exitcode) == (True, 0)
    fields = {key: run.fields[key] for key in ("project", "groupName", "jobType")}
    assert fields == {"project": "norms", "groupName": "study", "jobType": "layer"}
    assert run.fields["tags"] == ["layer", "mine", "mlp", "mnist_5k", "study"]
    drawn_against = {
        metric.get("2") or metric.get("1"): metric.get("5") for metric in run.config["_wandb"]["value"]["m"]
    }
    assert drawn_against["train/*"], run.config["_wandb"]["value"]["m"]
    said = capsys.readouterr()
    assert KEY not in said.out + said.err


def test_the_training_is_the_same_with_and_without(
    fake: FakeWandb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rich = {
        "logger.histograms": 3,
        "logger.confusion_matrix": True,
        "logger.filters": True,
        "logger.misclassified": 5,
    }
    logged = train(small(**rich), tmp_path / "study" / "rich")
    run = next(iter(fake.runs.values()))
    monkeypatch.setenv("NORMBENCH_WANDB", "off")
    plain = train(small(), tmp_path / "study" / "plain")
    assert logged["metrics"] == plain["metrics"]
    assert not (tmp_path / "study" / "plain" / "wandb").exists()
    media = [{key for key in row if key.split("/")[0] in {"activations", "gradients", "media"}} for row in run.rows]
    histograms = [row["step"] for row, keys in zip(run.rows, media, strict=True) if "gradients/output.weight" in keys]
    assert histograms == [8, 16, 24]
    assert "activations/output" in media[[row["step"] for row in run.rows].index(8)]
    assert {"media/first_layer", "media/misclassified", "media/confusion_matrix_table"} <= media[-1]
    assert {key: value for key, value in run.plain_summary.items() if "/" not in key} == logged
    assert any("media/images" in path for path in fake.files)


def test_a_diverged_run_is_logged_too(fake: FakeWandb, tmp_path: Path) -> None:
    folder = tmp_path / "study" / "x"
    result = train(small(**{"optimizer.lr": 1e30, "model.norm": "none"}), folder)
    assert result["diverged_at_step"] is not None
    run = next(iter(fake.runs.values()))
    assert run.plain_summary == result
    assert json.dumps(run.rows, sort_keys=True) == json.dumps(expected_rows(folder), sort_keys=True)


def test_an_offline_run_and_wandb_sync(
    start_fake: Callable[..., FakeWandb], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NORMBENCH_WANDB", "offline")
    config = resolve(small())
    folder = tmp_path / "study" / run_id(config)
    result = train(config, folder)
    fake = start_fake()
    offline = next((folder / "wandb").glob("offline-run-*"))
    command = [sys.executable, "-m", "wandb", "sync", str(offline)]
    subprocess.run(command, check=True, timeout=60, capture_output=True, cwd=tmp_path)
    run = fake.runs[folder.name]
    for _ in range(2):  # what was synchronized is not sent again
        assert run.rows == expected_rows(folder)
        assert run.plain_config == without_empty(result["config"])
        assert run.plain_summary == result
        assert (run.fields["groupName"], run.fields["jobType"]) == ("study", "layer")
        assert [pushed.state for pushed in push(folder.parent)] == ["finished"]
    assert list(fake.runs) == [folder.name]


def test_a_server_that_dies_in_mid_run(start_fake: Callable[..., FakeWandb], tmp_path: Path) -> None:
    fake = start_fake()
    config = resolve(small(**{"logger.finish_seconds": 2.0, "budget.steps": 60, "trainer.validations": 6}))
    folder = tmp_path / "study" / run_id(config)

    def die_at_30(step: int) -> None:
        if step == 30:
            fake.wait_for_run(folder.name)  # its rows are sent every 15 s only
            fake.die()

    started = time.monotonic()
    result = train(config, folder, die_at_30)
    assert time.monotonic() - started < 25
    assert result["steps"] == 60
    assert result["metrics"] == train(config, tmp_path / "again" / "x")["metrics"]
    assert len(list((folder / "wandb").glob("run-*/run-*.wandb"))) == 1
    fresh = start_fake()
    assert [pushed.state for pushed in push(folder.parent)] == ["finished"]
    assert fresh.runs[folder.name].rows == expected_rows(folder)
    assert fresh.runs[folder.name].plain_summary == result


def test_kill_9_in_mid_run_then_push_then_resume(
    start_fake: Callable[..., FakeWandb], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NORMBENCH_WANDB", "offline")
    changes = {"budget.steps": 4000, "trainer.loss_points": 40, "trainer.validations": 3, "trainer.checkpoints": 40}
    config = resolve(small(**changes))
    folder = tmp_path / "study" / run_id(config)
    path = tmp_path / "run.yaml"
    from normbench.spec import to_dict

    path.write_text(yaml.safe_dump(to_dict(config)))
    process = start_cli("train", "--config", path, "--folder", folder)
    deadline = time.monotonic() + 60
    while not (folder / CHECKPOINT).exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (folder / RESULT).exists()

    fake = start_fake()
    monkeypatch.delenv("NORMBENCH_WANDB")
    assert [pushed.state for pushed in push(folder.parent)] == ["unfinished"]
    run = fake.runs[folder.name]
    before = run.rows
    assert before == expected_rows(folder)
    assert before
    assert run.exitcode == 1

    result = train(config, folder)  # goes on from its checkpoint, and so does its W&B run
    assert len(run.rows) == 40 + 3 + 1
    assert [{k: v for k, v in row.items() if k != "seconds"} for row in run.rows] == [
        {k: v for k, v in row.items() if k != "seconds"} for row in expected_rows(folder)
    ]
    assert run.rows[: len(before)] == before
    assert run.plain_summary == result
    assert run.exitcode == 0


def test_a_resumed_offline_run_is_whole_in_one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NORMBENCH_WANDB", "offline")
    config = resolve(small(**{"trainer.checkpoints": 6}))
    folder = tmp_path / "study" / run_id(config)

    def stop(step: int) -> None:
        if step == 18:
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        train(config, folder, stop)
    assert (folder / CHECKPOINT).exists()
    train(config, folder)
    assert len(list((folder / "wandb").glob("offline-run-*"))) == 1


def test_a_wrong_key_in_a_run_costs_nothing_but_a_line(
    start_fake: Callable[..., FakeWandb], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake = start_fake(key="another" + "0" * 40)
    for seed in (0, 1):
        train(small(seed=seed), tmp_path / "study" / str(seed))
    assert fake.runs == {}
    said = capsys.readouterr()
    assert said.err.count("wandb: offline") == 1
    assert KEY not in said.out + said.err
    assert len(list(tmp_path.glob("study/*/wandb/offline-run-*"))) == 2


def test_two_cells_in_one_worker_are_two_runs(fake: FakeWandb, tmp_path: Path, cli_process: RunCli) -> None:
    study = {
        "name": "two",
        "question": "Two cells?",
        "base": {
            "data": {"name": "mnist_5k", "train_samples": 512, "batch_size": 32},
            "model": {"name": "mlp", "hidden": [16]},
            "budget": {"steps": 24},
            "trainer": {"accelerator": "cpu", "validations": 2, "loss_points": 6},
        },
        "grid": {"model.norm": ["none", "layer"]},
        "seeds": 1,
        "compare": {"factor": "model.norm", "baseline": "none"},
    }
    path = tmp_path / "two.yaml"
    path.write_text(yaml.safe_dump(study))
    said = cli_process("run", path, "--runs", tmp_path / "runs", "--workers", "1")
    assert said.status == 0, said.err
    assert said.err.count("wandb: online") == 1
    folders = sorted((tmp_path / "runs" / "two").glob(f"*/{RESULT}"))
    assert {folder.parent.name for folder in folders} == set(fake.runs)
    for found in folders:
        run = fake.runs[found.parent.name]
        assert run.rows == expected_rows(found.parent)
        assert run.plain_summary == json.loads(found.read_text())
    assert {run.fields["jobType"] for run in fake.runs.values()} == {"none", "layer"}


def test_two_ranks_are_one_run(fake: FakeWandb, tmp_path: Path) -> None:
    config = resolve(small(**{"trainer.devices": 2, "logger.confusion_matrix": True}))
    folder = tmp_path / "study" / run_id(config)
    result = execute(config, folder)
    assert result["devices"] == 2
    assert list(fake.runs) == [folder.name]
    rows = fake.runs[folder.name].rows
    assert [{k: v for k, v in row.items() if not k.startswith("media/")} for row in rows] == expected_rows(folder)
    matrix = rows[-1]["media/confusion_matrix_table"]
    assert (matrix["_type"], matrix["nrows"]) == ("table-file", 100)
    table = json.loads(fake.files[f"/storage/{folder.name}/{matrix['path']}"])
    assert sum(row[-1] for row in table["data"]) == 1000  # the test images of both ranks, each once
    assert {k: v for k, v in fake.runs[folder.name].plain_summary.items() if "/" not in k} == result
    assert sum(name == "RunResumeStatus" for name, *_ in fake.operations) == 1
    assert (folder / METRICS).exists()
