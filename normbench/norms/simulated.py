"""Processes that are simulated, to see among how many of them a norm shares its statistics."""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch.distributed as dist
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from normbench.errors import UsageError
from normbench.norms.response import equal, forward, run


class _Collectives(TorchDispatchMode):
    """Notices every collective operation, and the largest group of processes that one is for."""

    largest = 1

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace in ("c10d", "_c10d_functional"):
            self.largest = max(self.largest, *map(_processes, args))
        return func(*args, **(kwargs or {}))


def _processes(argument: Any) -> int:
    """Size of a group of processes, as collectives are handed one; 1 for any other argument."""
    with suppress(Exception):  # torch's own wrappings of a group, by whichever of them this is
        if isinstance(argument, str):
            resolve: Any = dist.distributed_c10d._resolve_process_group  # it takes a type of its own, a string
            return int(resolve(argument).size())
        return int(dist.ProcessGroup.unbox(argument).size())
    return 1


@contextmanager
def _processes_of(world: int) -> Iterator[None]:
    """A process group of so many, in which the others do nothing; none is left behind."""
    from torch.testing._internal.distributed.fake_pg import FakeStore

    hook = sys.excepthook  # which the group replaces by one that writes the rank before every line
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=world)
    try:
        yield
    finally:
        dist.destroy_process_group()
        sys.excepthook = hook


def talking(norm: nn.Module, x: Tensor, world: int) -> int | None:
    """Processes of `world` that share a statistic; None where the norm refuses so many."""
    if not dist.is_available():
        return 1
    other = copy.deepcopy(norm)  # made here: under a dispatch mode a copy imports torch's compiler
    alone = run(norm, x)
    with _processes_of(world), _Collectives() as collectives:
        try:
            together = forward(other, x)
        except UsageError:
            return None
    if collectives.largest > 1:
        return collectives.largest
    return 1 if equal(alone, together) else world
