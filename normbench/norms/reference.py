"""The formulas of the norms in plain tensors, float64: what the tests hold every layer against."""

from __future__ import annotations

import torch
from torch import Tensor


def standardised(x: Tensor, axes: tuple[int, ...], eps: float = 1e-5) -> Tensor:
    """(x - mean) / sqrt(biased variance + eps) over `axes`, in float64."""
    x = x.double()
    mean = x.mean(axes, keepdim=True)
    var = ((x - mean) ** 2).mean(axes, keepdim=True)
    return (x - mean) / torch.sqrt(var + eps)


def affine(x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    """gamma x + beta for each channel of (N, C, ...)."""
    shape = [1, -1] + [1] * (x.dim() - 2)
    return x * gamma.double().view(shape) + beta.double().view(shape)


def batch(x: Tensor, eps: float = 1e-5) -> Tensor:
    """Over (N, H, W), or N of (N, C)."""
    return standardised(x, tuple(axis for axis in range(x.dim()) if axis != 1), eps)


def ghost(x: Tensor, size: int, eps: float = 1e-5) -> Tensor:
    """Batch norm of consecutive parts of `size` images."""
    return torch.cat([batch(part, eps) for part in x.split(size)])


def layer(x: Tensor, eps: float = 1e-5) -> Tensor:
    """Over (C, H, W) of each image."""
    return standardised(x, tuple(range(1, x.dim())), eps)


def instance(x: Tensor, eps: float = 1e-5) -> Tensor:
    """Over (H, W) of each channel of each image."""
    return standardised(x, tuple(range(2, x.dim())), eps)


def group(x: Tensor, groups: int, eps: float = 1e-5) -> Tensor:
    """Over (H, W) and the channels of a group."""
    parts = x.reshape(len(x), groups, x.shape[1] // groups, *x.shape[2:])
    return standardised(parts, tuple(range(2, parts.dim())), eps).reshape(x.shape)


def moved_average(running: Tensor, newest: Tensor, momentum: float) -> Tensor:
    """(1 - momentum) running + momentum newest."""
    return (1 - momentum) * running.double() + momentum * newest.double()


def batch_statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and *unbiased* variance over (N, H, W): what torch puts into the running averages."""
    axes = tuple(axis for axis in range(x.dim()) if axis != 1)
    return x.double().mean(axes), x.double().var(axes, unbiased=True)
