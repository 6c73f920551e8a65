"""Trying a norm on an input: what it gives, and what its gradient reaches."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from normbench.errors import UsageError

TOLERANCE = 1e-9  # far above the rounding of float64, far below any change made here


def trained(module: nn.Module) -> int:
    """Trained parameters of a module."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


@contextmanager
def seeded() -> Iterator[None]:
    """One seed for all that is drawn within. numpy's and Python's generators are put back; the caller forks torch's."""
    before = np.random.get_state(), random.getstate()
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)
    try:
        yield
    finally:
        np.random.set_state(before[0])
        random.setstate(before[1])


def drawn(norm: nn.Module, x: Tensor) -> tuple[object, ...]:
    """How far the generators get while a norm, whose state stays as it was, takes x: equal where it draws as much."""
    norm = copy.deepcopy(norm)
    with seeded():
        norm(x)
        of_numpy = np.random.get_state(legacy=False)["state"]
        return torch.get_rng_state().numpy().tobytes(), bytes(of_numpy["key"]), of_numpy["pos"], random.getstate()


def forward(norm: nn.Module, x: Tensor) -> Tensor:
    """The output for x, under one seed. Raises UsageError for another shape."""
    with seeded():
        y = norm(x)
    if not isinstance(y, Tensor) or y.shape != x.shape:
        raise UsageError(f"a norm keeps the shape of its input, {tuple(x.shape)}")
    return y


def without_gradient(output: Callable[[Tensor], Tensor], x: Tensor, axis: int, own: int) -> list[int]:
    """Indices of an axis, but for `own`, whose values the gradient of that slice of the output does not reach."""
    source = x.clone().requires_grad_()
    everything = [index for index in range(x.shape[axis]) if index != own]
    with torch.enable_grad():
        y = output(source)
        if not y.requires_grad:
            return everything
        weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(5), dtype=y.dtype)
        (gradient,) = torch.autograd.grad((y * weights).sum(), source, allow_unused=True)
    if gradient is None:
        return everything
    reached = gradient.movedim(axis, 0).flatten(1).abs().amax(1)
    limit = 1e-12 * float(reached.max())
    return [index for index in everything if float(reached[index]) <= limit]


def run(norm: nn.Module, x: Tensor) -> Tensor:
    """The output for x; the norm's own state stays as it was."""
    return forward(copy.deepcopy(norm), x)


def equal(one: Tensor, other: Tensor) -> bool:
    """Whether two outputs are the same but for rounding."""
    return torch.allclose(one, other, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)
