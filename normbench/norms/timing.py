"""What a norm costs beside `batch`, measured on this machine."""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import median

import torch
from torch import Tensor, nn

from normbench.norms.registry import build_norm

ROUNDS = 15


def cost_ratios(names: Sequence[str], images: int, channels: int, side: int = 14) -> dict[str, float]:
    """Seconds of forward and backward pass of each norm over those of `batch`, on maps, on one thread of the CPU.

    The norms take turns, so that a machine that is busy for a while slows all of them; the median of the rounds counts.
    One that refuses the input is left out.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    x = torch.randn(images, channels, side, side, generator=torch.Generator().manual_seed(0)).requires_grad_()
    seconds: dict[str, list[float]] = {}
    layers = {}
    try:
        for name in dict.fromkeys(["batch", *names]):
            try:
                layers[name] = build_norm(name, channels)
                _seconds(layers[name], x)  # the first time something is set up
            except Exception:  # a user's norm may refuse in its own way
                layers.pop(name, None)
        for _ in range(ROUNDS):
            for name, layer in layers.items():
                seconds.setdefault(name, []).append(_seconds(layer, x))
    finally:
        torch.set_num_threads(threads)
    return {name: median(found) / median(seconds["batch"]) for name, found in seconds.items()}


def _seconds(layer: nn.Module, x: Tensor) -> float:
    start = time.perf_counter()
    layer(x).sum().backward()
    return time.perf_counter() - start
