"""Every norm compiled by torch: the same values, gradients and state as without, in training and evaluation."""

import copy
import os
import shutil
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from normbench.norms import NORMS
from normbench.norms.measure import measure
from normbench.norms.trial import Trial

pytestmark = pytest.mark.slow

COMPILER = pytest.mark.skipif(
    not any(shutil.which(name) for name in (os.environ.get("CXX"), "g++", "clang++", "cl") if name),
    reason="no C++ compiler is here (g++ or clang++)",
)
# aot_eager records the graph of a norm and of its gradients, and runs both: here as one whole graph, so that nothing
# is left to Python in silence. What inductor writes in C++ takes seconds to compile: a few norms have to do, and
# `normbench norms check` tries it on any.
GENERATED = ("batch", "rms", "evonorm_s0", "weight_norm")
CASES = [
    *(pytest.param(name, "aot_eager", id=name) for name in NORMS),
    *(pytest.param(name, "inductor", id=f"{name}-generated", marks=COMPILER) for name in GENERATED),
]
CLOSE = {"rtol": 1e-9, "atol": 1e-9}


def trial(name: str) -> Trial:
    entry = NORMS.get(name)
    options = entry.chosen({}, "")
    return Trial(entry, options, measure(entry, options))


def compiled(net: nn.Module, backend: str) -> Any:
    return torch.compile(net, backend=backend, fullgraph=backend == "aot_eager")


def found(net: nn.Module, call: Callable[[Tensor], Tensor], x: Tensor, weights: Tensor) -> dict[str, Tensor]:
    """What one pass gives: output, gradients of input and parameters, and the state after it."""
    x, own = x.clone().requires_grad_(), dict(net.named_parameters())
    net.zero_grad()
    y = call(x)
    (y * weights).sum().backward()
    gradients = {f"gradient of {key}": one.grad for key, one in {"x": x, **own}.items() if one.grad is not None}
    return {"output": y.detach(), **gradients, **{key: one.clone() for key, one in net.named_buffers()}}


@pytest.mark.parametrize(("name", "backend"), CASES)
def test_compiled_it_is_the_same(name: str, backend: str) -> None:
    try:
        tried = trial(name)
        for layout in tried.layouts:
            plain = tried.net(layout)
            twin = copy.deepcopy(plain)
            fast = compiled(twin, backend)
            for seed, training in ((0, True), (1, True), (2, False)):
                given = tried.input(layout, seed), tried.input(layout, 4)
                right = found(plain.train(training), plain, *given)
                made = found(twin.train(training), fast, *given)
                assert made.keys() == right.keys()
                for key, value in right.items():
                    torch.testing.assert_close(made[key], value, **CLOSE, msg=f"{key} ({layout})")
    finally:
        torch._dynamo.reset()


@pytest.mark.parametrize("layout", ["image", "vector"])
def test_the_first_batch_sets_lengths_of_a_compiled_layer_too(layout: str) -> None:
    try:
        tried = trial("weight_norm")
        plain = tried.fresh(layout)
        twin = copy.deepcopy(plain)
        fast = compiled(twin, "aot_eager")
        for seed in range(2):
            torch.testing.assert_close(fast(tried.input(layout, seed)), plain(tried.input(layout, seed)), **CLOSE)
        for key, value in plain.state_dict().items():
            torch.testing.assert_close(twin.state_dict()[key], value, **CLOSE, msg=key)
    finally:
        torch._dynamo.reset()
