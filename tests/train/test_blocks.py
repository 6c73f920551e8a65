"""Several optimizer steps executed as one: the same numbers to the bit, and everything at its step."""

import dataclasses
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor, nn

from normbench.norms import register_norm
from normbench.spec import resolve
from normbench.spec.counts import steps_per_execution
from normbench.spec.registry import NORMS
from normbench.tracking.mirror import Mirror
from normbench.train import train
from normbench.train.callbacks.progress import Schedule
from tests.train.runs import MLP, Cut, curve, cut_at, folder_of, lasting, tiny, trained

LONG = {"trainer.steps_per_execution": None, "trainer.loss_points": 3, "data.batch_size": 8, "budget.steps": 90}
WAYS: dict[str, dict[str, Any]] = {
    "sgd": {},
    "dropout": {"model.dropout": 0.5},
    "adam and cosine": {"optimizer.name": "adam", "optimizer.lr": 0.001, "optimizer.schedule": "cosine"},
    "warm-up": {"optimizer.warmup_steps": 5, "optimizer.schedule": "step"},
    "virtual devices": {"trainer.virtual_devices": 2},
    "float64": {"trainer.precision": "64-true"},
    "no validation": {"trainer.validations": 0},
    "mlp": MLP | {"model.norm": "layer"},
}


@pytest.mark.parametrize("way", WAYS)
def test_blocks_change_no_number(way: str, tmp_path: Path) -> None:
    one, many = (tiny(**LONG | WAYS[way] | {"trainer.steps_per_execution": steps}) for steps in (1, None))
    assert (steps_per_execution(resolve(one)), steps_per_execution(resolve(many))) == (1, 16)
    results = [trained(config, tmp_path / name) for name, config in (("one", one), ("many", many))]
    for result in results:
        result["config"]["trainer"].pop("steps_per_execution")
    assert lasting(results[0]) == lasting(results[1])
    assert curve(folder_of(one, tmp_path / "one")) == curve(folder_of(many, tmp_path / "many"))


@pytest.mark.parametrize("at", [1, 17, 64, 65, 89])
def test_a_run_in_blocks_that_is_cut_ends_as_an_undisturbed_one(at: int, tmp_path: Path) -> None:
    # 64 steps are an epoch: Lightning learns only afterwards that it is over.
    config = tiny(**LONG | {"model.dropout": 0.5, "trainer.checkpoints": 45, "optimizer.schedule": "cosine"})
    expected = trained(config, tmp_path / "whole")
    with pytest.raises(Cut):
        trained(config, tmp_path / "cut", cut_at(at))
    assert lasting(trained(config, tmp_path / "cut")) == lasting(expected)
    assert curve(folder_of(config, tmp_path / "cut")) == curve(folder_of(config, tmp_path / "whole"))


def test_a_divergence_inside_a_block_is_dated_to_its_step(tmp_path: Path) -> None:
    config = tiny(**LONG | {"optimizer.lr": 1e30, "optimizer.momentum": 0.0})
    found = [
        trained(
            dataclasses.replace(config, trainer=dataclasses.replace(config.trainer, steps_per_execution=steps)), root
        )
        for steps, root in ((1, tmp_path / "one"), (None, tmp_path / "many"))
    ]
    assert found[0]["diverged_at_step"] == found[1]["diverged_at_step"]
    assert 0 < found[1]["diverged_at_step"] < 30


EXECUTED = {1: "each step executed alone", None: "several steps executed as one"}


@pytest.mark.parametrize(("before", "after"), [(1, None), (None, 1)])
def test_a_checkpoint_of_single_steps_is_not_continued_in_blocks_nor_the_other_way(
    before: int | None, after: int | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tiny(**LONG | {"trainer.steps_per_execution": before, "trainer.checkpoints": 10})
    with pytest.raises(Cut):
        trained(config, tmp_path / "cut", cut_at(50))
    other = dataclasses.replace(config, trainer=dataclasses.replace(config.trainer, steps_per_execution=after))
    result = train(other, folder_of(config, tmp_path / "cut"))
    assert f"was made with {EXECUTED[before]}, and this call has {EXECUTED[after]}" in capsys.readouterr().err
    assert result["metrics"] == trained(config, tmp_path / "whole")["metrics"]


def test_layers_are_told_each_step_of_a_block(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []

    @register_norm("told")
    class Told(nn.Module):
        def __init__(self, num_channels: int) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(num_channels))

        def set_step(self, step: int, total: int) -> None:
            told.append((step, total))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.scale.view(1, -1, *[1] * (x.dim() - 2))

    try:
        trained(tiny(**LONG | {"model.norm": "told", "budget.steps": 40}), tmp_path)
    finally:
        NORMS.remove("told")
    assert sorted(set(told)) == [(step, 40) for step in range(40)]


@pytest.mark.parametrize(
    "changes",
    [
        {"trainer.accumulate_grad_batches": 2},
        {"trainer.gradient_clip_val": 1.0},
        {"trainer.precision": "bf16-mixed"},
        {"trainer.overfit_batches": 2},
        {"trainer.fast_dev_run": 2},
        {"trainer.devices": 2},
        {"logger.histograms": 3},
    ],
)
def test_what_looks_at_every_step_sees_every_step(changes: dict[str, Any]) -> None:
    assert steps_per_execution(resolve(tiny(**LONG | changes))) == 1


def test_callbacks_of_a_caller_see_every_step_and_the_mirror_blocks(tmp_path: Path) -> None:
    class Look(pl.Callback):
        def __init__(self, sees_blocks: bool) -> None:
            self.sees_blocks = sees_blocks
            self.ended: list[int] = []
            self.losses: list[float] = []
            self.stepped = 0

        def on_train_batch_end(self, trainer: pl.Trainer, module: Any, outputs: Any, *_: Any) -> None:
            self.ended.append(trainer.global_step)
            self.losses += [float(outputs["loss"])] if "loss" in outputs else []

        def on_before_optimizer_step(self, *_: Any) -> None:
            self.stepped += 1

    config, mirror = tiny(**LONG), Mirror.sees_blocks
    each, blocks = Look(sees_blocks=False), Look(sees_blocks=mirror)
    results = [trained(config, tmp_path / name, callbacks=[look]) for name, look in (("a", each), ("b", blocks))]
    assert each.ended == list(range(1, 91))
    assert (len(each.losses), each.stepped) == (90, 90)
    assert len(blocks.ended) < 20
    assert lasting(results[0]) == lasting(results[1])
    mixed = Look(sees_blocks=False)
    trained(config, tmp_path / "c", callbacks=[Look(sees_blocks=True), mixed])
    assert len(mixed.losses) == 90


def test_the_next_event_is_found_without_going_through_all() -> None:
    class Step(int):
        compared = 0

        def __lt__(self, other: int) -> bool:
            Step.compared += 1
            return int(self) < int(other)

        def __gt__(self, other: int) -> bool:
            Step.compared += 1
            return int(self) > int(other)

    schedule = Schedule([Step(3 * step) for step in range(1, 10_001)])
    assert [schedule.after(step) for step in (0, 2, 3, 29_998, 29_999)] == [3, 3, 6, 30_000, 30_000]
    assert schedule.after(30_000) is schedule.after(40_000) is None
    assert Step.compared < 7 * 16
