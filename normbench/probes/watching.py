"""What several probes do with a network: its layers, what they give, and a tensor as units and values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

ACTIVATIONS = torch.nn.modules.activation.__name__  # the module in which torch defines its activation functions


def activations(net: nn.Module) -> dict[str, nn.Module]:
    """The activation functions of a network by name, and norms that replace one; empty where all are functions."""
    return {
        name: module
        for name, module in net.named_modules()
        if type(module).__module__ == ACTIVATIONS or getattr(module, "replaces_activation", False)
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
