"""Real wandb client, real HTTP: runs online, offline, resumed, interrupted, side by side."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from normbench.launch.ranks import execute
from normbench.spec import run_id, to_dict, yaml_text
from normbench.store import Store
from normbench.store.folder import CHECKPOINT, METRICS, RESULT, RunFolder
from normbench.tracking import offline
from normbench.tracking.push import push
from tests.conftest import RunCli, start_cli
from tests.tracking.conftest import (
    KEY,
    comparable,
    expected_rows,
    read_result,
    small,
    study_tree,
    train_mirrored,
    without_empty,
)
from tests.tracking.fake_server import FakeWandb
from tests.tracking.offline import offline_folders

MEDIA = {"activations", "gradients", "media"}


def states(store: Store, folder: RunFolder) -> list[str]:
    """What becomes of a study of one run that is pushed."""
    store.record("study", [folder.id])
    return [pushed.state for pushed in push(store, "study")]


def test_an_online_run_arrives_exactly(fake: FakeWandb, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = small(**{"logger.tags": ["mine"], "logger.project": "norms"})
    store = Store(tmp_path)
    store.record("another", [run_id(config)])
    folder, result = train_mirrored(config, tmp_path, study="study", cell={"model.norm": "layer", "case": "tiny"})
    assert list(fake.runs) == [folder.id]
    run = fake.runs[folder.id]
    assert run.rows == expected_rows(folder)
    assert len(run.rows) == 6 + 2 + 1
    axes = {"study": {"model_norm": "layer", "case": "tiny"}}
    assert run.plain_config == without_empty(result["config"]) | {"axes": axes}
    assert run.plain_config["model"]["hidden"] == [16]  # options stand beside their section's own keys
    assert run.plain_summary == result
    assert (run.complete, run.exitcode) == (True, 0)
    fields = {key: run.fields[key] for key in ("project", "groupName", "jobType")}
    assert fields == {"project": "norms", "groupName": "study", "jobType": "layer"}
    assert run.fields["tags"] == ["layer", "mine", "mlp", "mnist_5k", "study:another", "study:study"]
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
    logged_folder, logged = train_mirrored(small(**rich), tmp_path / "rich")
    run = fake.runs[logged_folder.id]
    monkeypatch.setenv("NORMBENCH_WANDB", "off")
    folder, plain = train_mirrored(small(), tmp_path / "plain")
    assert folder.id == logged_folder.id
    assert logged["metrics"] == plain["metrics"]
    assert [values(row) for row in expected_rows(logged_folder)] == [values(row) for row in expected_rows(folder)]
    assert not (folder.path / "wandb").exists()
    media = [{key for key in row if key.split("/")[0] in MEDIA} for row in run.rows]
    histograms = [row["step"] for row, keys in zip(run.rows, media, strict=True) if "gradients/output.weight" in keys]
    assert histograms == [8, 16, 24]
    assert "activations/output" in media[[row["step"] for row in run.rows].index(8)]
    assert {"media/first_layer", "media/misclassified", "media/confusion_matrix"} <= media[-1]
    assert {key: value for key, value in run.plain_summary.items() if "/" not in key} == logged
    assert any("media/images" in path for path in fake.files)
    captions = run.rows[-1]["media/misclassified"]["captions"]
    assert len(captions) == 5
    assert all(caption.startswith("label ") for caption in captions)


def values(row: dict[str, object]) -> dict[str, object]:
    """A row without its time."""
    return {key: value for key, value in row.items() if key != "seconds"}


def test_a_diverged_run_is_logged_too(fake: FakeWandb, tmp_path: Path) -> None:
    folder, result = train_mirrored(small(**{"optimizer.lr": 1e30, "model.norm": "none"}), tmp_path)
    assert result["diverged_at_step"] is not None
    run = fake.runs[folder.id]
    assert run.plain_summary == result
    assert comparable(run.rows) == comparable(expected_rows(folder))


def test_an_offline_run_with_pictures_is_pushed_whole(
    start_fake: Callable[..., FakeWandb], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Histograms and pictures are in the offline folder alone: pushing sends them too, once."""
    monkeypatch.setenv("NORMBENCH_WANDB", "offline")
    config = small(**{"logger.histograms": 1, "logger.filters": True})
    folder, result = train_mirrored(config, tmp_path, study="study")
    fake = start_fake()
    monkeypatch.chdir(tmp_path.parent)
    for _ in range(2):
        assert states(Store(tmp_path.name), folder) == ["finished"]  # `runs`, as people have it
        run = fake.runs[folder.id]
        plain = [{k: v for k, v in row.items() if k.split("/")[0] not in MEDIA} for row in run.rows]
        assert plain == expected_rows(folder)
        assert "media/first_layer" in run.rows[-1]
        assert any("gradients/output.weight" in row for row in run.rows)
        assert {key: value for key, value in run.plain_summary.items() if "/" not in key} == result
    assert list(fake.runs) == [folder.id]


def test_an_offline_run_of_rows_alone_is_pushed_without_wandb_sync(
    start_fake: Callable[..., FakeWandb], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NORMBENCH_WANDB", "offline")
    folder, _ = train_mirrored(small(), tmp_path, study="study")
    fake = start_fake()
    monkeypatch.setattr(offline, "synchronize", lambda *_: pytest.fail("seconds a run, for nothing"))
    assert states(Store(tmp_path), folder) == ["finished"]
    assert fake.runs[folder.id].rows == expected_rows(folder)
    assert offline.unsent(folder.path) == []


def test_an_offline_run_and_wandb_sync(
    start_fake: Callable[..., FakeWandb], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NORMBENCH_WANDB", "offline")
    folder, result = train_mirrored(small(), tmp_path, study="study", cell={"case": "x"})
    fake = start_fake()
    command = [sys.executable, "-m", "wandb", "sync", str(offline_folders(folder.path)[0])]
    subprocess.run(command, check=True, timeout=60, capture_output=True, cwd=tmp_path)
    run = fake.runs[folder.id]
    for _ in range(2):  # what was synchronized is not sent again
        assert run.rows == expected_rows(folder)
        assert run.plain_config == without_empty(result["config"]) | {"axes": {"study": {"case": "x"}}}
        assert run.plain_summary == result
        assert (run.fields["groupName"], run.fields["jobType"]) == ("study", "layer")
        assert states(Store(tmp_path), folder) == ["finished"]
    assert list(fake.runs) == [folder.id]


def test_a_server_that_dies_in_mid_run(
    start_fake: Callable[..., FakeWandb], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake = start_fake()
    config = small(**{"logger.finish_seconds": 2.0, "budget.steps": 60, "trainer.validations": 6})

    def die_at_30(step: int) -> None:
        if step == 30:
            fake.wait_for_run(run_id(config))  # its rows are sent every 15 s only
            fake.die()

    folder, result = train_mirrored(config, tmp_path, die_at_30)
    assert "does not end" not in capsys.readouterr().err, "it gives up by itself, after logger.finish_seconds"
    assert result["steps"] == 60
    assert len(list((folder.path / "wandb").glob("run-*/run-*.wandb"))) == 1
    fresh = start_fake()
    assert states(Store(tmp_path), folder) == ["finished"]
    assert fresh.runs[folder.id].rows == expected_rows(folder)
    assert fresh.runs[folder.id].plain_summary == result


def test_kill_9_in_mid_run_then_push_then_resume(
    start_fake: Callable[..., FakeWandb], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NORMBENCH_WANDB", "offline")
    changes = {"budget.steps": 4000, "trainer.loss_points": 40, "trainer.validations": 3, "trainer.checkpoints": 40}
    config = small(**changes)
    folder = RunFolder(tmp_path / run_id(config))
    path = tmp_path / "run.yaml"
    path.write_text(yaml_text(to_dict(config)))
    process = start_cli("train", "--config", path, "--folder", folder.path)
    deadline = time.monotonic() + 60
    while not folder.checkpoint_path.exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not folder.result_path.exists()

    fake = start_fake()
    monkeypatch.delenv("NORMBENCH_WANDB")
    assert states(Store(tmp_path), folder) == ["unfinished"]
    run = fake.runs[folder.id]
    before = run.rows
    assert before == expected_rows(folder)
    assert before
    assert run.exitcode == 1

    _, result = train_mirrored(config, tmp_path)  # goes on from its checkpoint, and so does its W&B run
    assert len(run.rows) == 40 + 3 + 1
    assert [values(row) for row in run.rows] == [values(row) for row in expected_rows(folder)]
    assert run.rows[: len(before)] == before
    assert run.plain_summary == result
    assert run.exitcode == 0


def test_a_resumed_offline_run_is_whole_in_one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NORMBENCH_WANDB", "offline")
    config = small(**{"trainer.checkpoints": 6})

    def stop(step: int) -> None:
        if step >= 18:
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        train_mirrored(config, tmp_path, stop)
    assert (tmp_path / run_id(config) / CHECKPOINT).exists()
    folder, _ = train_mirrored(config, tmp_path)
    assert len(offline_folders(folder.path)) == 1


def test_a_wrong_key_in_a_run_costs_nothing_but_a_line(
    start_fake: Callable[..., FakeWandb], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake = start_fake(key="another" + "0" * 40)
    for seed in (0, 1):
        train_mirrored(small(seed=seed), tmp_path)
    assert fake.runs == {}
    said = capsys.readouterr()
    assert said.err.count("wandb: offline") == 1
    assert KEY not in said.out + said.err
    assert len(offline_folders(tmp_path)) == 2


def test_two_cells_in_one_worker_are_two_runs(fake: FakeWandb, tmp_path: Path, cli_process: RunCli) -> None:
    path = tmp_path / "two.yaml"
    path.write_text(yaml_text(study_tree("two", seeds=1)))
    said = cli_process("run", path, "--runs", tmp_path / "runs", "--workers", "1")
    assert said.status == 0, said.err
    assert said.err.count("wandb: online") == 1
    found = [RunFolder(result.parent) for result in sorted((tmp_path / "runs").glob(f"*/{RESULT}"))]
    assert {folder.id for folder in found} == set(fake.runs)
    assert len(found) == 2
    for folder in found:
        run = fake.runs[folder.id]
        assert comparable(run.rows) == comparable(expected_rows(folder))
        assert run.plain_summary == read_result(folder)
        assert "study:two" in run.fields["tags"]
        assert run.fields["groupName"] == "two"
    assert {run.fields["jobType"] for run in fake.runs.values()} == {"none", "layer"}


def test_two_ranks_are_one_run(fake: FakeWandb, tmp_path: Path) -> None:
    config = small(**{"trainer.devices": 2, "logger.confusion_matrix": True})
    folder = RunFolder(tmp_path / run_id(config))
    with folder.claim():
        result = execute(config, folder.path)
    assert result["devices"] == 2
    assert list(fake.runs) == [folder.id]
    rows = fake.runs[folder.id].rows
    assert [{k: v for k, v in row.items() if k.split("/")[0] != "media"} for row in rows] == expected_rows(folder)
    matrix = rows[-1]["media/confusion_matrix"]
    page = fake.files[f"/storage/{folder.id}/{matrix['path']}"].decode()
    counts = [int(cell) for cell in re.findall(r">(\d+)</td>", page)]
    assert len(counts) == 100
    assert sum(counts) == 1000  # the test images of both ranks, each once
    right = sum(counts[11 * digit] for digit in range(10))
    assert right / 1000 == pytest.approx(result["metrics"]["test_accuracy"], abs=5e-4)
    assert {k: v for k, v in fake.runs[folder.id].plain_summary.items() if "/" not in k} == result
    assert sum(name == "RunResumeStatus" for name, *_ in fake.operations) == 1
    assert (folder.path / METRICS).exists()
