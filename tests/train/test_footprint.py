"""Memory of a training step: by hand for one layer, in proportion for a network, and what a budget holds."""

import pytest
import torch
from torch import nn

from normbench.models import build_model
from normbench.spec import resolve, run_config
from normbench.train.footprint import footprint, peaks

N = 1000


def test_one_linear_layer_by_hand() -> None:
    """Forward: images, labels, logits, their log-softmax. Backward: the last one, its gradient and that of logits."""
    images, labels = torch.randn(N, 20), torch.randint(10, (N,))
    given = 4 * 20 * N + 8 * N
    forward, backward = peaks(nn.Linear(20, 10), images, labels)
    assert forward == pytest.approx(given + 2 * 40 * N, abs=64)
    assert backward == pytest.approx(given + 3 * 40 * N, abs=64)


def test_what_is_measured_of_a_small_batch_holds_for_a_large_one() -> None:
    keys = {"model.name": "cnn", "model.channels": [4, 8], "model.norm": "batch", "data.name": "mnist_5k"}
    config = resolve(run_config({**keys, "optimizer.name": "adam", "data.batch_size": 16}))
    found = footprint(config)
    net = build_model(config.model).train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    parameters = sum(p.numel() for p in net.parameters())
    assert found.gradients == 4 * parameters
    assert found.states == pytest.approx(8 * parameters, rel=0.01)  # two averages, and a count for each tensor
    forward, backward = peaks(net, torch.randn(128, 1, 28, 28), torch.randint(10, (128,)))
    assert found.forward.of(128) == pytest.approx(forward, rel=0.01)
    assert found.backward.of(128) == pytest.approx(backward, rel=0.05)
    assert found.activations(128) >= 128 * 4 * (28 * 28 * (1 + 2 * 4) + 14 * 14 * 2 * 8)  # of conv, and of norm
    largest = found.largest(50e6)
    assert found.total(largest) <= 50e6 < found.total(largest + 1)
    assert found.largest(1000) == 0
