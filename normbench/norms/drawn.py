"""Random numbers that a norm draws past torch's own generator, and so past the seed of a run.

A generator that is made and seeded within a forward pass gives the same numbers in every step: noise that looks random
in one batch and is a constant of the training. One that the module keeps is in no checkpoint, and starts again with a
run that is continued.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import nn

# What makes or seeds a generator, by the module that it is a name of.
SOURCES: tuple[tuple[Any, str], ...] = (
    (torch, "Generator"),
    (torch, "manual_seed"),
    (torch.random, "manual_seed"),
    (np.random, "default_rng"),
    (np.random, "RandomState"),
    (np.random, "seed"),
    (random, "Random"),
    (random, "seed"),
)


@contextmanager
def watched(net: nn.Module) -> Iterator[list[str]]:
    """Gives the list of what makes or seeds a generator within, by name, each once."""
    seen: list[str] = []
    files = {sys.modules.get(type(module).__module__) for module in net.modules()}
    with ExitStack() as stack:
        for owner, name in SOURCES:
            real = getattr(owner, name)
            told = f"{owner.__name__}.{name}".replace("numpy", "np")
            spy = _spy(real, told, seen)
            stack.enter_context(patch.object(owner, name, spy))
            for file in files - {None, owner}:  # a file may have imported the name itself
                for own in [own for own, value in vars(file).items() if value is real]:
                    stack.enter_context(patch.object(file, own, spy))
        yield seen


def _spy(real: Any, told: str, seen: list[str]) -> Any:
    """What does as `real`, and notes that it was called. In the place of a class it has the class's instances."""

    def noted(*args: Any, **kwargs: Any) -> Any:
        if told not in seen:
            seen.append(told)
        return real(*args, **kwargs)

    if not isinstance(real, type):
        return noted

    class Noted(type):
        def __call__(cls, *args: Any, **kwargs: Any) -> Any:
            return noted(*args, **kwargs)

        def __instancecheck__(cls, instance: Any) -> bool:
            return isinstance(instance, real)

    return Noted(real.__name__, (), {})
