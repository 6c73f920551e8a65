"""What a training needs in memory: measured on a small batch, as tensors that live at the same time."""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from normbench.models import build_model
from normbench.seeds import generator
from normbench.spec.counts import device_batch, image_facts
from normbench.spec.schema import RunConfig
from normbench.train.optimizers import build_optimizer

MOST = 64  # images that are measured; of a larger batch a part, and the rest follows in proportion


@dataclass(frozen=True)
class Line:
    """Bytes as a straight line of the images of a batch."""

    fixed: float
    each: float

    def of(self, images: int) -> int:
        """Bytes of so many images."""
        return round(self.fixed + self.each * images)

    def within(self, budget: float) -> int:
        """Images that fit into so many bytes, 0 at least."""
        return max(0, math.floor((budget - self.fixed) / self.each))


@dataclass(frozen=True)
class Footprint:
    """Bytes that a training step needs on a device, as tensors: what libraries and drivers take comes on top.

    Args:
        weights: Parameters and buffers.
        gradients: Gradients of all parameters; those of the step before live until the backward pass begins.
        states: What the optimizer keeps.
        forward: Most that lives at a time in the forward pass besides, the images among it.
        backward: The same in the backward pass, the new gradients among it.
    """

    weights: int
    gradients: int
    states: int
    forward: Line
    backward: Line

    def activations(self, images: int) -> int:
        """Peak of what a batch itself needs: neither weights, nor gradients of weights, nor the optimizer's state."""
        return max(self.forward.of(images), self.backward.of(images) - self.gradients)

    def total(self, images: int) -> int:
        """Peak of a training step."""
        moving = max(self.forward.of(images) + self.gradients, self.backward.of(images))
        return self.weights + self.states + moving

    def largest(self, budget: float) -> int:
        """The largest batch whose step stays within so many bytes; 0 where none does."""
        left = budget - self.weights - self.states
        return min(self.forward.within(left - self.gradients), self.backward.within(left))


def footprint(config: RunConfig) -> Footprint:
    """Measured of a resolved run on this machine's CPU, in float32, on the batch of a device or a part of it."""
    facts, model = image_facts(config.data), config.model
    with torch.random.fork_rng(devices=[]):
        net = build_model(model, facts.image, facts.classes, config.trainer.virtual_devices).train()
        if config.trainer.channels_last:
            net.to(memory_format=torch.channels_last)
        images = device_batch(config)
        while images > MOST and images % 2 == 0:
            images //= 2
        draw = generator(0, "footprint")
        x = torch.randn(2 * images, *facts.image, generator=draw)
        labels = torch.randint(facts.classes, (2 * images,), generator=draw)
        small, large = (peaks(net, x[:count].clone(), labels[:count].clone()) for count in (images, 2 * images))
        optimizer = build_optimizer(config.optimizer.name, net.parameters(), 0.01, config.optimizer.options)
        optimizer.step()
    forward, backward = (Line(2 * one - two, (two - one) / images) for one, two in zip(small, large, strict=True))
    states = [value for state in optimizer.state.values() for value in state.values() if isinstance(value, Tensor)]
    gradients = [parameter.grad for parameter in net.parameters() if parameter.grad is not None]
    weights = _bytes([*net.parameters(), *net.buffers()])
    return Footprint(weights, _bytes(gradients), _bytes(states), forward, backward)


def peaks(net: nn.Module, images: Tensor, labels: Tensor) -> tuple[int, int]:
    """Most bytes of tensors that live at a time in the forward and in the backward pass, weights and buffers apart.

    Images and labels count. Gradients of weights are set aside first; the new ones count in the backward pass.

    Args:
        net: The network, whose gradients are afterwards those of this batch.
        images: (N, C, H, W), or whatever the network takes.
        labels: (N,).
    """
    for parameter in net.parameters():
        parameter.grad = None
    given = _bytes([images, labels])
    with _Living([*net.parameters(), *net.buffers(), images, labels]) as living:
        loss = F.cross_entropy(net(images), labels)
        forward = living.peak
        living.peak = living.now
        loss.backward()
    return forward + given, living.peak + given


class _Living(TorchDispatchMode):
    """Adds up the memory of tensors from the operation that makes them until nobody holds them any more."""

    def __init__(self, known: Iterable[Tensor]) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._seen: dict[int, Any] = {tensor.untyped_storage()._cdata: None for tensor in known}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        tree_map_only(Tensor, self._see, made)
        return made

    def _see(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key not in self._seen:
            self.now += size
            self.peak = max(self.peak, self.now)
            self._seen[key] = weakref.ref(storage, lambda _: self._forget(key, size))
        return tensor

    def _forget(self, key: int, size: int) -> None:
        self.now -= size
        del self._seen[key]


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
