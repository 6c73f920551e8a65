"""Checkpoints: unusable ones never block a run, and the weights that stay can be loaded."""

from pathlib import Path
from typing import Any

import pytest
import torch

from normbench import MNISTDataModule, NormClassifier
from normbench.store.folder import RunFolder
from normbench.train.callbacks import checkpoint as module

from .runs import Cut, curve, cut_at, folder_of, lasting, plain_trainer, tiny, trained


def foreign(path: Path) -> None:
    torch.save(
        {"callbacks": {"Recorder": {"run": "0" * 16}}, "loops": {}, "state_dict": {}, "optimizer_states": []}, path
    )


BROKEN: dict[str, Any] = {
    "empty": (lambda path: path.write_bytes(b""), "is empty"),
    "text": (lambda path: path.write_text("not a checkpoint"), r"cannot be read \("),
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:5_000]), r"cannot be read \("),
    "foreign": (foreign, "is of another run"),
    "another program's": (lambda path: torch.save({"state_dict": {}}, path), r"cannot be read \("),
}


@pytest.mark.parametrize(("spoil", "words"), BROKEN.values(), ids=BROKEN)
def test_an_unusable_checkpoint_is_kept_aside_and_the_run_starts_again(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], spoil: Any, words: str
) -> None:
    import re

    config = tiny(**{"trainer.checkpoints": 12})
    whole = trained(config, tmp_path / "whole")
    folder = folder_of(config, tmp_path / "broken")
    with pytest.raises(Cut):
        trained(config, tmp_path / "broken", cut_at(9))
    spoil(folder / "checkpoint.ckpt")
    (folder / "checkpoint.ckpt.new").write_bytes(b"left over")
    capfd.readouterr()
    steps: list[int] = []
    result = trained(config, tmp_path / "broken", steps.append)
    lines = capfd.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert re.search(rf"warning: .*checkpoint\.ckpt {words}.*: kept as .*; started again from step 0", lines[0])
    assert steps[0] <= 2, "the first block of steps"
    assert lasting(result) == lasting(whole)
    assert curve(folder) == curve(folder_of(config, tmp_path / "whole"))
    names = {path.name for path in folder.iterdir()} - {"config.yaml", "metrics.csv", "result.json", ".lock"}
    names.discard("test_predictions.npz")
    assert len(names) == 1, "the file that was kept aside"
    assert lines[0].split("kept as ")[1].split(";")[0] in names


def test_a_kill_while_a_checkpoint_is_replaced_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny(**{"trainer.checkpoints": 24})
    synced: list[int] = []

    def kill(descriptor: int) -> None:
        synced.append(descriptor)
        if len(synced) == 5:
            raise Cut

    with monkeypatch.context() as patch:
        patch.setattr(module.os, "fsync", kill)
        # Only checkpoints count here: files that are written through the store are synced elsewhere.
        with pytest.raises(Cut):
            trained(config, tmp_path / "cut")
    folder = folder_of(config, tmp_path / "cut")
    assert (folder / "checkpoint.ckpt.new").exists()
    steps: list[int] = []
    result = trained(config, tmp_path / "cut", steps.append)
    assert steps[0] > 1
    assert lasting(result) == lasting(trained(config, tmp_path / "whole"))
    assert not (folder / "checkpoint.ckpt.new").exists()


@pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning")
@pytest.mark.parametrize("keep", ["last", "best"])
def test_weights_that_stay_give_the_metrics_of_the_run(tmp_path: Path, keep: str) -> None:
    config = tiny(**{"trainer.keep": keep, "trainer.validations": 6, "optimizer.lr": 0.3})
    result = trained(config, tmp_path / keep)
    plain = trained(tiny(**{"trainer.validations": 6, "optimizer.lr": 0.3}), tmp_path / "none")
    assert result["metrics"] == plain["metrics"], "what is kept changes no number"
    folder = folder_of(config, tmp_path / keep)
    assert not (folder_of(config, tmp_path / "none") / "weights.ckpt").exists()
    module = NormClassifier.load_from_checkpoint(RunFolder(folder).weights_path)
    data = MNISTDataModule("mnist_5k", batch_size=32, train_samples=512)
    found = plain_trainer(limit_val_batches=1.0).validate(module, datamodule=data, verbose=False)[0]
    accuracies = [
        float(row["value"]) for row in curve(folder) if (row["split"], row["metric"]) == ("validation", "accuracy")
    ]
    assert found["val_accuracy"] == pytest.approx(accuracies[-1] if keep == "last" else max(accuracies), abs=1e-6)


def test_weights_of_an_earlier_attempt_do_not_stay(tmp_path: Path) -> None:
    config = tiny()
    folder = folder_of(config, tmp_path)
    folder.mkdir(parents=True)
    (folder / "weights.ckpt").write_bytes(b"old")
    trained(config, tmp_path)
    assert not (folder / "weights.ckpt").exists()
