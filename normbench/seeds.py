"""Random numbers by name: one generator for each thing that is drawn, so that no draw moves another."""

from __future__ import annotations

import hashlib
import random

import numpy as np
import torch
from torch import nn

UNREPEATED = (
    "draws random numbers that the seed of a run does not repeat, from a generator of its own or from the system: draw "
    "them with torch (torch.rand, nn.Dropout), numpy.random or random, unseeded"
)
KINDS = (torch.Generator, np.random.Generator, np.random.RandomState, np.random.BitGenerator, random.Random)


def generator(seed: int, *names: object) -> torch.Generator:
    """A CPU generator whose stream depends on `seed` and `names` alone."""
    digest = hashlib.sha256(":".join(map(str, (seed, *names))).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def own_generators(net: nn.Module) -> list[str]:
    """Attributes of a network's modules that are random generators of their own: no seed of a run decides them."""
    return [
        f"{name}.{key}".lstrip(".")
        for name, module in net.named_modules()
        for key, value in vars(module).items()
        if isinstance(value, KINDS)
    ]
