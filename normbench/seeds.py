"""Random numbers by name: one generator for each thing that is drawn, so that no draw moves another."""

from __future__ import annotations

import hashlib

import torch


def generator(seed: int, *names: object) -> torch.Generator:
    """A CPU generator whose stream depends on `seed` and `names` alone."""
    digest = hashlib.sha256(":".join(map(str, (seed, *names))).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
