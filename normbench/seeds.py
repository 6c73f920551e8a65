"""Random numbers by name: one generator for each thing that is drawn, so that no draw moves another."""

from __future__ import annotations

import hashlib

import torch
from torch import nn


def generator(seed: int, *names: object) -> torch.Generator:
    """A CPU generator whose stream depends on `seed` and `names` alone."""
    digest = hashlib.sha256(":".join(map(str, (seed, *names))).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def init_weights(model: nn.Module, seed: int) -> None:
    """Draws every weight anew from (seed, parameter name), with torch's default distributions.

    Layers that have the same name and shape start equal, whatever stands between them: a norm, or a
    convolution without its bias, moves nothing else. Layers other than convolutions and linear ones that draw
    (`reset_parameters`) do so under a seed of (seed, module name).
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            # Kaiming uniform with a = sqrt(5), torch's default, is U(-b, b) with b = 1 / sqrt(fan in).
            bound = module.weight[0].numel() ** -0.5
            for key, parameter in module.named_parameters(recurse=False):
                with torch.no_grad():
                    parameter.uniform_(-bound, bound, generator=generator(seed, "init", f"{name}.{key}"))
        elif any(True for _ in module.parameters(recurse=False)) and hasattr(module, "reset_parameters"):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(generator(seed, "init", name).initial_seed())
                module.reset_parameters()
