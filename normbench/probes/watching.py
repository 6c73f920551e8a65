"""What several probes do with a network: its layers, what they give, and a tensor as units and values."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from normbench.norms.contract import replaces_activation

EVALUATED = 500  # images that are evaluated at a time
ACTIVATIONS = torch.nn.modules.activation.__name__  # the module in which torch defines its activation functions


def activations(net: nn.Module) -> dict[str, nn.Module]:
    """The activation functions of a network by name, and norms that replace one; empty where all are functions."""
    return {
        name: module
        for name, module in net.named_modules()
        if type(module).__module__ == ACTIVATIONS or replaces_activation(module)
    }


def weighted(net: nn.Module) -> dict[str, nn.Module]:
    """The modules that have parameters of their own, by name."""
    return {
        name or "net": module
        for name, module in net.named_modules()
        if any(True for _ in module.parameters(recurse=False))
    }


@contextmanager
def watched(
    modules: Mapping[str, nn.Module], note: Callable[[str, Tensor, Tensor], None]
) -> Iterator[Callable[[], None]]:
    """Calls `note(name, input, output)` for every call of the modules: a second call of NAME is NAME#2.

    Gives a function that is called before each further forward pass.
    """
    calls: dict[str, int] = {}

    def hook(name: str) -> Any:
        def told(module: nn.Module, inputs: Any, output: Any) -> None:
            calls[name] = calls.get(name, 0) + 1
            first = output[0] if isinstance(output, tuple) else output
            with torch.no_grad():
                note(name if calls[name] == 1 else f"{name}#{calls[name]}", inputs[0].detach(), first.detach())

        return told

    hooks = [module.register_forward_hook(hook(name)) for name, module in modules.items()]
    try:
        yield calls.clear
    finally:
        for one in hooks:
            one.remove()


def units(values: Tensor, module: nn.Module | None = None) -> Tensor:
    """Values as (units, images, positions): a unit is a channel, or a feature of a vector or token.

    Args:
        values: (N, C), (N, C, H, W), or tokens (N, L, C); (N, C, L) where the parameters of `module` have length C.
        module: What gave them.
    """
    if values.dim() == 3:
        own = next(module.parameters(recurse=False), None) if module is not None else None
        first = own is not None and not isinstance(module, nn.Linear) and len(own) == values.shape[1]
        values = values if first else values.transpose(1, 2)
    return values.flatten(2).transpose(0, 1) if values.dim() > 2 else values.T.unsqueeze(-1)


def precise(values: Tensor) -> Tensor:
    """In double precision, or in single where the device has no other."""
    return values.float() if values.device.type == "mps" else values.double()


def batches(images: Tensor, size: int) -> list[Tensor]:
    """Images in batches of `size`, without a last, smaller one unless it is the only one."""
    parts = list(images.split(size))
    return parts[:-1] if len(parts) > 1 and len(parts[-1]) < size else parts


def without_dropout(net: nn.Module) -> nn.Module:
    """`net` itself, its dropout layers in evaluation mode."""
    for module in net.modules():
        if "dropout" in type(module).__name__.lower():
            module.eval()
    return net


@contextmanager
def restored(net: nn.Module, parameters: bool = True) -> Iterator[None]:
    """Leaves buffers, torch's random numbers and, unless they are to change, the parameters of `net` as they were."""
    kept = {name: one.detach().clone() for name, one in net.named_buffers()}
    kept |= {name: one.detach().clone() for name, one in net.named_parameters()} if parameters else {}
    device = next(net.parameters(), torch.empty(0)).device
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
    finally:
        with torch.no_grad():
            for name, one in (*net.named_buffers(), *(net.named_parameters() if parameters else ())):
                one.copy_(kept[name])


def gradient(
    net: nn.Module, images: Tensor, labels: Tensor, parameters: Sequence[Tensor]
) -> tuple[float, list[Tensor]]:
    """The mean cross-entropy (nats) and its gradient with respect to `parameters`; zeros where one is not used."""
    loss = F.cross_entropy(net(images).float(), labels)
    found = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
    return float(loss.detach()), [part.detach() for part in found]


def distance(one: Sequence[Tensor], other: Sequence[Tensor] | None = None) -> float:
    """Euclidean distance of two vectors that are given in parts; without `other`, the length of one."""
    if other is None:
        return math.sqrt(sum(float(precise(part).square().sum()) for part in one))
    return math.sqrt(sum(float((precise(a) - precise(b)).square().sum()) for a, b in zip(one, other, strict=True)))
