"""The blocks of residual networks as modules."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from normbench.norms.weights import Combined

Parts = list[tuple[str, nn.Module]]


class IdentityShortcut(nn.Module):
    """Every `stride`-th pixel, and zeros for `more` channels: (N, C, H, W) -> (N, C + more, H / stride, W / stride)."""

    def __init__(self, stride: int, more: int) -> None:
        super().__init__()
        self.stride, self.more = stride, more

    def extra_repr(self) -> str:
        return f"stride={self.stride}, more={self.more}"

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.more))


class BasicBlock(nn.Module):
    """act(x + norm2(conv2(act(norm1(conv1(x)))))), with a shortcut in place of x where the shape changes."""

    def __init__(
        self, conv1: nn.Module, between: Parts, conv2: nn.Module, end: Parts, shortcut: Parts, act: nn.Module
    ) -> None:
        super().__init__()
        self.conv1 = conv1
        self.between = _sequence(between)
        self.conv2 = conv2
        self.end = _sequence(end)
        self.shortcut = _sequence(shortcut)
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        kept = self.shortcut(x)
        y: Tensor = self.act(kept + self.end(self.conv2(self.between(self.conv1(x)))))
        return y


class PreactivatedBlock(nn.Module):
    """x + conv2(act(norm2(conv1(act(norm1(x)))))); a projection takes the activated input, as conv1 does."""

    def __init__(
        self, first: Parts, conv1: nn.Module, between: Parts, conv2: nn.Module, shortcut: Parts, projected: bool
    ) -> None:
        super().__init__()
        self.first = _sequence(first)
        self.conv1 = conv1
        self.between = _sequence(between)
        self.conv2 = conv2
        self.shortcut = _sequence(shortcut)
        self.projected = projected

    def forward(self, x: Tensor) -> Tensor:
        active = self.first(x)
        kept: Tensor = self.shortcut(active if self.projected else x)
        branch: Tensor = self.conv2(self.between(self.conv1(active)))
        return kept + branch


def zero_scale(norm: nn.Module) -> None:
    """Sets a norm's scale for each channel, called weight or gamma, to zero. One without any stays as it is."""
    scaled = norm.norm if isinstance(norm, Combined) else norm
    for name, parameter in scaled.named_parameters(recurse=False):
        if name in {"weight", "gamma"}:
            with torch.no_grad():
                parameter.zero_()


def _sequence(parts: Parts) -> nn.Sequential:
    return nn.Sequential(OrderedDict(parts))


class AddedTo(nn.Sequential):
    """x + the parts one after the other."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + super().forward(x)
        return y
