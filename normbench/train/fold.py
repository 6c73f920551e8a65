"""Norms that are fixed in evaluation, folded into the convolution or linear layer before them."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from normbench.norms.running import spread

Layer = nn.Conv2d | nn.Linear


def folded(net: nn.Module, images: Tensor) -> tuple[nn.Module, list[str]]:
    """A copy of a network in evaluation without the norms that could be folded, and the names of those.

    A norm is folded where it takes the outputs of a convolution or linear layer itself, nothing else does, and it
    computes a x + b for each channel whatever the input, as batch norm does in evaluation: w x + c before it becomes
    a w x + (a c + b). That is measured, so that it holds for any norm.

    Args:
        net: The network; it stays as it is. Its norms are called norm, norm1, norm_logits or the like.
        images: Some inputs (N, C, H, W).
    """
    made = copy.deepcopy(net).eval()
    names = []
    for layer, name, width in _pairs(made, images):
        norm = made.get_submodule(name)
        found = affine(norm, width)
        if found is not None and not isinstance(norm, nn.Identity):
            _scale(layer, *found)
            parent, _, key = name.rpartition(".")
            setattr(made.get_submodule(parent), key, nn.Identity())
            names.append(name)
    return made, names


def affine(norm: nn.Module, given: Tensor) -> tuple[Tensor, Tensor] | None:
    """a and b of each channel, float64 (C,), where a norm in evaluation computes a x + b; else None.

    Args:
        norm: The norm.
        given: An input of it, whose shape is tried.
    """
    exact = copy.deepcopy(norm).double().eval()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        zero, other = torch.zeros_like(given, dtype=torch.float64), 3 * torch.randn(given.shape, dtype=torch.float64)
        shift = exact(zero)
        scale = exact(zero + 1) - shift
        a, b = (part.transpose(0, 1).flatten(1)[:, 0].clone() for part in (scale, shift))
        straight = spread(a, other) * other + spread(b, other)
        fits = torch.allclose(exact(other), straight, rtol=1e-9, atol=1e-9)
    return (a, b) if fits else None


def _pairs(net: nn.Module, images: Tensor) -> list[tuple[Layer, str, Tensor]]:
    """Each layer whose outputs go to one norm and nowhere else, that norm's name, and its input."""
    outputs: list[tuple[Layer, Tensor]] = []
    inputs: list[tuple[str, Tensor]] = []
    named = [name for name, _ in net.named_modules() if name.rpartition(".")[2].startswith("norm")]
    norms = {name for name in named if not any(name.startswith(f"{other}.") for other in named)}  # a whole, not parts

    def note_output(module: Any, given: Any, output: Tensor) -> None:
        outputs.append((module, output))

    hooks = []
    for name, module in net.named_modules():
        # What a hook makes of the outputs of a layer (a multiplier, say) would come after what is folded into it.
        if isinstance(module, nn.Conv2d | nn.Linear) and not module._forward_hooks:
            hooks.append(module.register_forward_hook(note_output))
        inside = any(name.startswith(f"{norm}.") for norm in norms)
        if name in norms or not (inside or any(True for _ in module.children())):

            def note_input(module: Any, given: Any, name: str = name) -> None:
                inputs.extend((name, one) for one in given if isinstance(one, Tensor))

            hooks.append(module.register_forward_pre_hook(note_input))
    try:
        with torch.no_grad():
            net(images)
    finally:
        for hook in hooks:
            hook.remove()
    found = []
    for layer, output in outputs:
        takers = [name for name, given in inputs if given is output]
        once = sum(one is layer for one, _ in outputs) == 1
        if len(takers) == 1 and takers[0] in norms and once:
            found.append((layer, takers[0], output))
    return found


def _scale(layer: Layer, scale: Tensor, shift: Tensor) -> None:
    """Makes a layer give a y + b instead of y."""
    kind, weight = layer.weight.dtype, layer.weight.detach().double()
    if parametrize.is_parametrized(layer):
        # Not by remove_parametrizations: it takes `weight` off the class, which the original network shares.
        layer.__class__ = type(layer).__mro__[1]
        del layer.parametrizations
    bias = layer.bias.detach().double() if layer.bias is not None else torch.zeros_like(shift)
    wide = scale.view(-1, *[1] * (weight.dim() - 1))
    layer.weight = nn.Parameter((wide * weight).to(kind))
    layer.bias = nn.Parameter((scale * bias + shift).to(kind))
