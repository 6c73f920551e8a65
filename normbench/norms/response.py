"""Trying a norm on an input: what it gives, and what its gradient reaches."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from normbench.errors import UsageError

TOLERANCE = 1e-9  # far above the rounding of float64, far below any change made here


def trained(module: nn.Module) -> int:
    """Trained parameters of a module."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def forward(norm: nn.Module, x: Tensor) -> Tensor:
    """The output for x, under one seed. Raises UsageError for another shape."""
    torch.manual_seed(0)
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
