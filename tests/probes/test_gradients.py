"""The probe `gradients` against numbers by hand, and against the steps that a run made."""

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from normbench.probes import Moment
from normbench.probes.gradients import Gradients, angle

from ..train.runs import curve, folder_of, tiny, trained


def test_numbers_are_those_of_a_step_by_hand() -> None:
    torch.manual_seed(0)
    before = nn.Sequential(nn.Flatten(), nn.Linear(6, 4, bias=False), nn.BatchNorm1d(4, eps=1e-12), nn.Linear(4, 3))
    images, labels = torch.randn(9, 1, 2, 3), torch.arange(9) % 3
    after = copy.deepcopy(before)
    F.cross_entropy(after(images), labels).backward()
    weight = before[1].weight.detach().double()  # type: ignore[union-attr, operator]
    gradient = after[1].weight.grad.double()  # type: ignore[union-attr, operator]
    torch.optim.SGD(after.parameters(), 0.5).step()
    found = Gradients().measure(Moment(after, images, labels, 1, 1, before=before, lr=0.5)).scalars
    size, steep = float(weight.norm()), float(gradient.norm())
    assert found["1/gradient"] == pytest.approx(steep, rel=1e-5)
    assert found["1/weight"] == pytest.approx(size, rel=1e-6)
    assert found["1/update"] == pytest.approx(0.5 * steep, rel=1e-4)
    assert found["1/ratio"] == pytest.approx(0.5 * steep / size, rel=1e-4)
    # Before a norm the gradient is orthogonal to the weight: the step is the opposite side of the angle.
    assert found["1/radial"] == pytest.approx(0, abs=1e-5)
    assert found["1/angle"] == pytest.approx(math.atan(0.5 * steep / size), rel=1e-4)
    assert found["1/effective_lr"] == pytest.approx(0.5 / size**2, rel=1e-6)
    assert "3/effective_lr" not in found, "the last layer has a scale"
    assert "2/angle" not in found, "gamma and beta are no kernel"


def test_angles() -> None:
    one = torch.tensor([1.0, 0.0], dtype=torch.float64)
    assert angle(one, torch.tensor([0.0, 2.0], dtype=torch.float64)) == pytest.approx(math.pi / 2)
    assert angle(one, torch.tensor([1.0, 1e-9], dtype=torch.float64)) == pytest.approx(1e-9, rel=1e-6)


RUNS: dict[str, dict[str, Any]] = {
    "in blocks": {"model.dropout": 0.5, "optimizer.schedule": "cosine"},
    "one by one": {"trainer.steps_per_execution": 1, "model.norm": "batch_renorm"},
}


@pytest.mark.parametrize("changes", RUNS.values(), ids=RUNS)
def test_in_a_run_the_update_of_plain_sgd_is_the_rate_times_the_gradient(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    keys = {"optimizer.name": "sgd", "optimizer.momentum": 0.0, "optimizer.weight_decay": 0.0, **changes}
    config = tiny(**keys, **{"optimizer.lr": 0.1, "probes": {"gradients": {"at": [1, 2, 20]}}})
    trained(config, tmp_path)
    rows = [row for row in curve(folder_of(config, tmp_path)) if row["split"] == "probe"]
    found = {(int(row["step"]), row["metric"]): float(row["value"]) for row in rows}
    assert {step for step, _ in found} == {1, 2, 20}
    cosine = changes.get("optimizer.schedule") == "cosine"
    for step in (1, 2, 20):
        rate = 0.1 * (0.5 * (1 + math.cos(math.pi * (step - 1) / 24)) if cosine else 1)
        for layer in ("block0.conv", "hidden0.linear", "output"):
            name = f"gradients/{layer}"
            assert found[step, f"{name}/update"] == pytest.approx(rate * found[step, f"{name}/gradient"], rel=2e-3)
        name = "gradients/block0.conv"
        if (step, f"{name}/effective_lr") in found:
            assert found[step, f"{name}/effective_lr"] == pytest.approx(rate / found[step, f"{name}/weight"] ** 2)
