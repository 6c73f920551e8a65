"""The same run gives the same numbers: again, in another process, and after any number of interruptions."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from normbench import register_model
from normbench.spec.registry import MODELS
from normbench.train.randomness import preserved_generators, restore_generators, seed_generators, state_of_generators

from .runs import MLP, Cut, curve, cut_at, folder_of, lasting, losses, tiny, trained

RUNS: dict[str, dict[str, Any]] = {
    "sgd": {},
    "ghost, dropout, adam": {
        "model.norm": "ghost",
        "model.norm_options": {"size": 8},
        "model.dropout": 0.5,
        "optimizer.name": "adam",
    },
    "mlp": {**MLP, "model.name": "mlp", "seed": 3},
}


@pytest.mark.parametrize("changes", RUNS.values(), ids=RUNS)
def test_a_run_repeats_bit_by_bit(tmp_path: Path, changes: dict[str, Any]) -> None:
    config = tiny(**changes)
    torch.manual_seed(1)
    one = trained(config, tmp_path / "one")
    torch.manual_seed(2)
    other = trained(config, tmp_path / "other")
    assert lasting(one) == lasting(other)
    assert curve(folder_of(config, tmp_path / "one")) == curve(folder_of(config, tmp_path / "other"))
    assert one["metrics"]["test_accuracy"] > 0.2, "it learns, too"


def test_seeds_give_different_runs(tmp_path: Path) -> None:
    results = [trained(tiny(seed=seed), tmp_path) for seed in (0, 1)]
    assert results[0]["metrics"] != results[1]["metrics"]


RESUMED: dict[str, dict[str, Any]] = {
    "sgd": {},
    "adam, dropout, cosine": {"optimizer.name": "adam", "model.dropout": 0.5, "optimizer.schedule": "cosine"},
    "accumulation": {"trainer.accumulate_grad_batches": 2, "model.dropout": 0.3, "optimizer.warmup_steps": 5},
    "uneven validations": {"trainer.validations": 3, "probes": {"layers": {"times": 4}}},
}


@pytest.mark.parametrize("changes", RESUMED.values(), ids=RESUMED)
def test_a_cut_run_ends_as_an_undisturbed_one(tmp_path: Path, changes: dict[str, Any]) -> None:
    # Six steps an epoch; points at every third step; checkpoints wherever they may be.
    config = tiny(
        **{"data.train_samples": 200, "budget.steps": 20, "trainer.checkpoints": 20, "trainer.loss_points": 6} | changes
    )
    undisturbed = trained(config, tmp_path / "undisturbed")
    for step in (1, 2, 6, 7, 8, 10, 11, 12, 13, 14, 19, 20):
        root = tmp_path / f"cut at {step}"
        folder = folder_of(config, root)
        with pytest.raises(Cut):
            trained(config, root, cut_at(step))
        assert (folder / "checkpoint.ckpt").exists() == (step > 1)
        assert not (folder / "result.json").exists()
        steps: list[int] = []
        resumed = trained(config, root, steps.append)
        assert steps[0] > 1 or step == 1, "it goes on, it does not begin again"
        assert lasting(resumed) == lasting(undisturbed), step
        assert curve(folder) == curve(folder_of(config, tmp_path / "undisturbed")), step


def test_a_run_that_is_cut_again_and_again(tmp_path: Path) -> None:
    config = tiny(**{"data.train_samples": 200, "budget.steps": 20, "trainer.checkpoints": 20})
    undisturbed = trained(config, tmp_path / "undisturbed")
    for step in (4, 7, 12, 17):
        with pytest.raises(Cut):
            trained(config, tmp_path / "cut", cut_at(step))
    assert lasting(trained(config, tmp_path / "cut")) == lasting(undisturbed)
    assert curve(folder_of(config, tmp_path / "cut")) == curve(folder_of(config, tmp_path / "undisturbed"))


def test_the_number_of_checkpoints_changes_nothing(tmp_path: Path) -> None:
    results = []
    for count in (0, 1, 24):
        config = tiny(**{"trainer.checkpoints": count})
        results.append(trained(config, tmp_path / str(count)))
        assert not (folder_of(config, tmp_path / str(count)) / "checkpoint.ckpt").exists()
    assert results[0]["metrics"] == results[1]["metrics"] == results[2]["metrics"]
    assert len({result["run_id"] for result in results}) == 1


# A plug-in that draws from the global generators.

PLUGIN = """
import random

import numpy as np
import torch
from torch import nn

from normbench import register_model


class Noise(nn.Module):
    def forward(self, x):
        if not self.training:
            return x
        return x + 0.1 * torch.randn_like(x) + 0.1 * float(np.random.rand()) + 0.1 * random.random()


@register_model("{name}")
def dropnet(image, classes):
    return nn.Sequential(
        nn.Flatten(), nn.Linear(784, 32), nn.ReLU(), Noise(), nn.Dropout(0.5), nn.Linear(32, classes)
    )
"""
PROCESS = """
import sys
from pathlib import Path
from normbench.spec import run_config
from normbench.train import train
import json
train(run_config(json.loads(sys.argv[1])), Path(sys.argv[2]))
"""


def test_draws_of_a_plug_in_repeat_in_one_worker_in_another_process_and_after_a_cut(tmp_path: Path) -> None:
    plugin = tmp_path / "dropnet.py"
    plugin.write_text(PLUGIN.format(name="noisy_dropnet"))
    keys = {
        "plugins": [str(plugin)],
        "data.name": "mnist_5k",
        "data.train_samples": 512,
        "data.batch_size": 32,
        "model.name": "noisy_dropnet",
        "budget.steps": 12,
        "trainer.accelerator": "cpu",
        "trainer.checkpoints": 12,
        "trainer.loss_points": 12,
    }
    from normbench.spec import run_config

    config = run_config(keys)
    found = []
    for name in ("first", "second"):
        torch.rand(3)
        np.random.rand(3)
        trained(config, tmp_path / name)
        found.append(losses(folder_of(config, tmp_path / name)))
    with pytest.raises(Cut):
        trained(config, tmp_path / "cut", cut_at(7))
    torch.rand(5)
    trained(config, tmp_path / "cut")
    found.append(losses(folder_of(config, tmp_path / "cut")))
    elsewhere = folder_of(config, tmp_path / "elsewhere")
    subprocess.run([sys.executable, "-c", PROCESS, json.dumps(keys), str(elsewhere)], check=True, timeout=120)
    found.append(losses(elsewhere))
    assert len(found[0]) == 12
    assert found[0] == found[1] == found[2] == found[3]
    assert found[0] != losses_of_seed(config, tmp_path)


def losses_of_seed(config: Any, tmp_path: Path) -> list[float]:
    import dataclasses

    other = dataclasses.replace(config, seed=1)
    trained(other, tmp_path / "other seed")
    return losses(folder_of(other, tmp_path / "other seed"))


def test_built_in_parts_do_not_touch_the_global_generators(tmp_path: Path) -> None:
    seen: list[Any] = []
    config = tiny(**{"model.dropout": 0.5, "trainer.checkpoints": 3})
    trained(config, tmp_path, lambda step: seen.append(torch.get_rng_state()))
    assert all(torch.equal(state, seen[0]) for state in seen)


def test_training_leaves_the_global_generators_as_they_were(tmp_path: Path) -> None:
    torch.manual_seed(11)
    before = state_of_generators()
    trained(tiny(), tmp_path)
    after = state_of_generators()
    assert torch.equal(before["torch"], after["torch"])
    assert (before["numpy"], before["python"]) == (after["numpy"], after["python"])


def test_states_of_generators_come_back_from_a_file(tmp_path: Path) -> None:
    import random

    def draws() -> tuple[float, float, float]:
        return torch.rand(1).item(), float(np.random.rand()), random.random()

    with preserved_generators():
        seed_generators(0, "test")
        torch.save(state_of_generators(), tmp_path / "state")
        expected = draws()
        draws()
        restore_generators(torch.load(tmp_path / "state", weights_only=True))
        assert draws() == expected
        seed_generators(0, "test", 1)
        assert draws() != expected


def test_a_learned_position_embedding_is_the_same_each_time_and_for_every_norm(tmp_path: Path) -> None:
    """Version 0.1 gave .4418 and .4450 for one run under one id, and another embedding to each norm."""
    seen: list[torch.Tensor] = []

    @register_model("positioned")
    def positioned(image: Any, classes: int, norms: Any) -> nn.Module:
        class Net(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                first = nn.Linear(28, 16)
                self.first = nn.Sequential(*(part for _, part in norms.after(first, nn.ReLU(), 16)))
                self.position = nn.Parameter(0.02 * torch.randn(28, 16))
                self.last = nn.Linear(16, classes)

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                rows = self.first[0](x.flatten(0, 2)).view(len(x), 28, 16) + self.position
                return self.last(rows.mean(1))

        return Net()

    try:
        from normbench import NormClassifier
        from normbench.config import ModelConfig

        for norm in ("none", "batch", "layer"):
            for noise in (1, 2):
                torch.manual_seed(noise)
                seen.append(NormClassifier(ModelConfig("positioned", norm=norm), seed=5).net.position.detach())
    finally:
        MODELS.remove("positioned")
    assert all(torch.equal(one, seen[0]) for one in seen)
