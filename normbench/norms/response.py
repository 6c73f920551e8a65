"""Trying a norm on an input: what it gives, and what its gradient reaches."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from normbench.errors import UsageError
from normbench.seeds import UNREPEATED

DRAWS_BY_VALUE = (
    "the values that it is given in training decide how many random numbers it draws (as in torch's rrelu), so that no "
    "statistic can be told from noise: draw one for each value, whatever that is (torch.rand_like, nn.Dropout)"
)
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
        norm(x.clone())
        of_numpy = np.random.get_state(legacy=False)["state"]
        return torch.get_rng_state().numpy().tobytes(), bytes(of_numpy["key"]), of_numpy["pos"], random.getstate()


def forward(norm: nn.Module, x: Tensor) -> Tensor:
    """The output for x, which stays as it is, under one seed. Raises UsageError for another shape."""
    with seeded():
        y = norm(x.clone())
    if not isinstance(y, Tensor) or y.shape != x.shape:
        raise UsageError(f"a norm keeps the shape of its input, {tuple(x.shape)}")
    return y


def run(norm: nn.Module, x: Tensor) -> Tensor:
    """The output for x; the norm's own state stays as it was."""
    return forward(copy.deepcopy(norm), x)


def equal(one: Tensor, other: Tensor) -> bool:
    """Whether two outputs are the same but for rounding."""
    return torch.allclose(one, other, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)


def check_draws(label: str, norm: nn.Module, inputs: Sequence[Tensor]) -> None:
    """Raises UsageError for a norm whose random numbers hide what it does: its output would change by itself."""
    if not all(equal(run(norm, x), run(norm, x)) for x in inputs):
        raise UsageError(f"norm '{label}' {UNREPEATED}")
    if len({drawn(norm, x) for x in inputs}) > 1:  # one value then moves what all after it get
        raise UsageError(f"norm '{label}': {DRAWS_BY_VALUE}")


class Slice:
    """One slice of a norm's output along an axis: an image, a channel, or a position.

    Args:
        norm: The norm; its state stays as it was.
        x: An input (N, C, ...).
        other: Another one, from which values are taken to change `x`.
        axis: 0, 1 or 2, where the positions of a map are counted together; a vector has one.
        index: Which slice.
    """

    def __init__(self, norm: nn.Module, x: Tensor, other: Tensor, axis: int, index: int) -> None:
        self.norm, self.shape, self.axis, self.index = norm, x.shape, axis, index
        self.x, self.other = (each.reshape(*x.shape[:2], -1) for each in (x, other))

    def output(self, x: Tensor) -> Tensor:
        """The slice for an input (N, C, positions)."""
        return run(self.norm, x.reshape(self.shape)).reshape(x.shape).select(self.axis, self.index)

    @cached_property
    def unchanged(self) -> Tensor:
        """The slice for `x` as it is."""
        return self.output(self.x)

    def depends_on(self, indices: list[int]) -> bool:
        """Whether it changes where these slices of the input do."""
        which, changed = torch.tensor(indices, dtype=torch.long), self.x.clone()
        changed.index_copy_(self.axis, which, self.other.index_select(self.axis, which))
        return not equal(self.unchanged, self.output(changed))

    def shared(self) -> int:
        """How many slices of the input along the axis matter for it, itself included."""
        free = self.without_gradient()
        # A statistic without a gradient is one too: what the gradient leaves out is changed, at first all at once.
        if free and self.depends_on(free):
            free = [one for one in free if not self.depends_on([one])]
        return self.x.shape[self.axis] - len(free)

    def without_gradient(self) -> list[int]:
        """The other slices of the input, along the axis, that its gradient does not reach."""
        source = self.x.clone().requires_grad_()
        everything = [index for index in range(source.shape[self.axis]) if index != self.index]
        with torch.enable_grad():
            y = self.output(source)
            if not y.requires_grad:
                return everything
            weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(5), dtype=y.dtype)
            (gradient,) = torch.autograd.grad((y * weights).sum(), source, allow_unused=True)
        if gradient is None:
            return everything
        reached = gradient.movedim(self.axis, 0).flatten(1).abs().amax(1)
        limit = 1e-12 * float(reached.max())
        return [index for index in everything if float(reached[index]) <= limit]
