"""The probe `rank` against singular values and cosines by hand, on real digits."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from normbench.config import ModelConfig
from normbench.models.registry import build_model, completed
from normbench.norms.placement import placed
from normbench.probes.rank import Rank, mean_cosine, stable_rank
from normbench.spec.registry import MODELS

from .digits import moment, network

SITES = ("block0.norm", "block1.norm")


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_numbers_are_those_of_the_activations_of_two_batches(norm: str) -> None:
    net = network(**{"model.norm": norm, "model.dropout": 0.5})
    at = moment(net)
    found = Rank(images=70).measure(at).scalars
    assert set(found) == {f"{site}/{what}" for site in SITES for what in ("stable_rank", "cosine")}
    images, _ = at.held_out(70)
    outputs = []
    for part in (images[:32], images[32:64]):  # the last six are no batch
        given = net.block0.conv(part)  # type: ignore[union-attr, operator]
        outputs.append(F.batch_norm(given, None, None, training=True) if norm == "batch" else given)
    matrix = torch.cat(outputs).flatten(1).detach().double().numpy()
    singular = np.linalg.svd(matrix, compute_uv=False)
    assert found["block0.norm/stable_rank"] == pytest.approx((singular**2).sum() / singular[0] ** 2, rel=1e-5)
    cosines = [
        float(matrix[i] @ matrix[j] / np.linalg.norm(matrix[i]) / np.linalg.norm(matrix[j]))
        for i in range(64)
        for j in range(i)
    ]
    assert found["block0.norm/cosine"] == pytest.approx(np.mean(cosines), abs=1e-6)


def test_extremes() -> None:
    equal, apart = torch.ones(5, 3).double(), torch.eye(5).double()
    assert (stable_rank(equal @ equal.T), mean_cosine(equal @ equal.T)) == pytest.approx((1, 1))
    assert (stable_rank(apart), mean_cosine(apart)) == pytest.approx((5, 0))
    zero = torch.zeros(2, 2).double()
    assert math.isnan(stable_rank(zero))
    assert math.isnan(mean_cosine(zero))
    lost = torch.tensor([[1.0, math.nan], [math.nan, 1.0]]).double()
    assert math.isnan(stable_rank(lost))
    assert math.isnan(mean_cosine(lost))
    one_dead = torch.tensor([[1.0, 0], [1, 0], [0, 0]]).double()
    assert mean_cosine(one_dead @ one_dead.T) == pytest.approx(1)


@pytest.mark.parametrize("name", list(MODELS))
def test_the_norms_of_every_model_are_found_also_where_they_do_nothing(name: str) -> None:
    model = completed(ModelConfig(name, norm="none"))
    sites = [layer for layer in MODELS.get(name).facts["layers"](model, (1, 28, 28), 10) if layer.norm]
    assert len(placed(build_model(model))) == len(sites)
