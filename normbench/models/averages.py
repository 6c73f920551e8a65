"""The running averages of a network: which layers have some, and how they are recomputed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


def averaging(net: nn.Module) -> dict[str, Any]:
    """The modules with running averages by name: buffers and attributes of the names that torch's batch norms have.

    One that is frozen trains with its averages: there is nothing more precise for it.
    """
    wanted = ("running_mean", "running_var", "num_batches_tracked")
    return {
        name: module
        for name, module in net.named_modules()
        if hasattr(module, "momentum")
        and not getattr(module, "frozen", False)
        and all(isinstance(getattr(module, name, None), Tensor) for name in wanted)
    }


@contextmanager
def recomputed(net: nn.Module) -> Iterator[None]:
    """What passes through `net` inside, in train mode, makes its running averages anew: the plain mean over batches.

    The mode of `net` is afterwards as it was.
    """
    layers, training = list(averaging(net).values()), net.training
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.running_mean.zero_()
        layer.running_var.fill_(1)
        layer.num_batches_tracked.zero_()
        layer.momentum = None
    net.train()
    try:
        yield
    finally:
        net.train(training)
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
