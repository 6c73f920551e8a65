"""A diverged run is a result, dated to its step."""

import json
import math
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch

from normbench.train.callbacks.divergence import Losses, first_bad_step

from .runs import MLP, Cut, curve, cut_at, folder_of, lasting, losses, tiny, trained

WILD = {"optimizer.lr": 1e12, "model.norm": "none"}


def test_a_diverged_run_is_a_result(tmp_path: Path) -> None:
    config = tiny(**WILD, **{"trainer.loss_points": 24})
    result = trained(config, tmp_path)
    folder = folder_of(config, tmp_path)
    assert json.loads((folder / "result.json").read_text()) == result
    at = result["diverged_at_step"]
    assert 1 < at <= 24
    assert result["steps"] == at, "with a point at every step it stops at once"
    assert set(result["metrics"].values()) == {None}
    assert "test_accuracy" in result["metrics"]
    assert not math.isfinite(losses(folder)[-1])
    assert all(math.isfinite(loss) for loss in losses(folder)[:-1])
    assert len([row for row in curve(folder) if row["split"] == "validation"]) == 3, "validated once, at the end"


def test_divergence_between_two_points_is_dated_to_its_step(tmp_path: Path) -> None:
    exact = trained(tiny(**WILD, **{"trainer.loss_points": 24}), tmp_path)
    for extra in ({"trainer.loss_points": 2}, {"trainer.loss_points": 2, "trainer.accumulate_grad_batches": 4}):
        coarse = trained(tiny(**WILD, **extra), tmp_path)
        assert coarse["diverged_at_step"] == exact["diverged_at_step"]
        assert coarse["steps"] == 12


@pytest.mark.parametrize("points", [24, 4, 1])
def test_a_run_resumed_around_its_divergence_dates_it_as_an_undisturbed_one(tmp_path: Path, points: int) -> None:
    config = tiny(**WILD, **{"trainer.loss_points": points, "trainer.checkpoints": 24})
    undisturbed = trained(config, tmp_path / "undisturbed")
    at, last = undisturbed["diverged_at_step"], undisturbed["steps"]
    for step in sorted({max(at - 1, 1), at, min(at + 1, last), last}):
        root = tmp_path / f"cut at {step}"
        with pytest.raises(Cut):
            trained(config, root, cut_at(step))
        assert lasting(trained(config, root)) == lasting(undisturbed)
        assert curve(folder_of(config, root)) == curve(folder_of(config, tmp_path / "undisturbed"))


def test_a_run_cut_after_it_was_known_to_have_diverged_stays_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its state is in the checkpoint: the next one does not train on from weights that are NaN."""
    from normbench.train.callbacks.recorder import Recorder

    config = tiny(**WILD, **{"trainer.loss_points": 24, "trainer.checkpoints": 24})
    undisturbed = trained(config, tmp_path / "undisturbed")
    at = undisturbed["diverged_at_step"]
    record = Recorder._record_loss

    def and_save(self: Recorder, trainer: Any) -> None:
        record(self, trainer)
        if self.diverged_at_step is not None:
            trainer.save_checkpoint(self.folder.checkpoint_path)
            raise Cut

    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "_record_loss", and_save)
        with pytest.raises(Cut):
            trained(config, tmp_path / "cut")
    steps: list[int] = []
    resumed = trained(config, tmp_path / "cut", steps.append)
    assert steps == []
    assert resumed["diverged_at_step"] == at
    assert lasting(resumed) == lasting(undisturbed)


def test_an_update_that_no_loss_came_after_counts_at_the_last_step(tmp_path: Path) -> None:
    result = trained(
        tiny(**MLP | {"model.name": "mlp", "model.norm": "none", "budget.steps": 1, "optimizer.lr": 1e30}), tmp_path
    )
    assert (result["diverged_at_step"], result["steps"]) == (1, 1)
    assert set(result["metrics"].values()) == {None}
    good = trained(tiny(**MLP | {"model.name": "mlp", "model.norm": "none", "budget.steps": 1}), tmp_path)
    assert good["diverged_at_step"] is None
    assert good["metrics"]["test_accuracy"] is not None


def test_weights_count_also_where_nothing_is_validated(tmp_path: Path) -> None:
    changes = {"model.norm": "none", "budget.steps": 1, "optimizer.lr": 1e30, "trainer.validations": 0}
    assert trained(tiny(**changes), tmp_path)["diverged_at_step"] == 1


class Overflow(pl.Callback):
    """Ruins running variances, as a momentum of 7 did: batches are normalised by their own all the same."""

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        for name, buffer in pl_module.named_buffers():
            if name.endswith("running_var"):
                buffer.fill_(-1.0)


def test_evaluations_that_overflow_with_finite_losses_count_at_the_last_step(tmp_path: Path) -> None:
    config = tiny()
    result = trained(config, tmp_path, callbacks=[Overflow()])
    assert all(math.isfinite(loss) for loss in losses(folder_of(config, tmp_path)))
    assert result["diverged_at_step"] == 24
    assert set(result["metrics"].values()) == {None}


def test_losses_of_a_device_and_restored_ones_are_read_together() -> None:
    pending = Losses(parts=2)
    pending.restore([1.0, math.nan])
    pending.pending = [torch.tensor(1.5), torch.tensor(0.25)]
    found = pending.shared(torch.device("cpu"), 1)
    assert found.dtype == torch.float64
    assert found[[0, 2, 3]].tolist() == [1.0, 3.0, 0.5], "a device's losses are those of a part"
    assert first_bad_step(found, 10, 2) == 9
    assert first_bad_step(found[2:], 10, 2) is None
    again = Losses(parts=2)
    again.restore(pending.state(torch.device("cpu"), 1))
    assert again.shared(torch.device("cpu"), 1)[3] == 0.5


class AppleTensor(torch.Tensor):
    """A tensor of a device that has no float64."""

    def double(self, *args: Any, **options: Any) -> torch.Tensor:
        raise TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64")

    def cpu(self, *args: Any, **options: Any) -> torch.Tensor:
        return self.as_subclass(torch.Tensor)


def test_losses_leave_the_device_before_they_become_float64() -> None:
    pending = Losses(parts=1)
    pending.pending = [torch.tensor(1.5).as_subclass(AppleTensor), torch.tensor(2.5).as_subclass(AppleTensor)]
    assert pending.shared(torch.device("cpu"), 1).tolist() == [1.5, 2.5]
