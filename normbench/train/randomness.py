"""The random numbers that nothing of normbench's own draws: torch's, numpy's and Python's global generators.

Built-in parts draw from generators of their own (`seeds.generator`) and never touch these. A plug-in that does, say
with `nn.Dropout`, still gets the same numbers in every process and after a resume: the generators are seeded per run
from (seed, rank), saved in every checkpoint and restored from it.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from normbench.errors import UsageError
from normbench.seeds import UNREPEATED, generator

State = dict[str, Any]  # of plain values and tensors, so that torch.load reads it with weights_only


def seed_generators(seed: int, *names: object) -> None:
    """Seeds torch (CPU and every accelerator), numpy and Python from (`seed`, `names`)."""
    number = generator(seed, *names).initial_seed()
    torch.manual_seed(number)
    np.random.seed(number % 2**32)
    random.seed(number)


def state_of_generators() -> State:
    """The states of all global generators of this process."""
    kind, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    state: State = {
        "torch": torch.get_rng_state(),
        "numpy": [str(kind), [int(key) for key in keys], int(position), int(has_gauss), float(cached)],
        "python": _as_lists(random.getstate()),
    }
    # Asking about CUDA would start it in a process that has no use for it.
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state["cuda"] = list(torch.cuda.get_rng_state_all())
    if torch.backends.mps.is_available():
        state["mps"] = torch.mps.get_rng_state()
    return state


def restore_generators(state: State) -> None:
    """Takes up what `state_of_generators` gave. CUDA and MPS are covered, but were not run in the tests."""
    torch.set_rng_state(state["torch"].cpu())
    kind, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), position, has_gauss, cached))
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    if "cuda" in state and torch.cuda.is_available():
        for device, one in enumerate(state["cuda"][: torch.cuda.device_count()]):
            torch.cuda.set_rng_state(one.cpu(), device)
    if "mps" in state and torch.backends.mps.is_available():
        torch.mps.set_rng_state(state["mps"].cpu())


def _as_lists(state: tuple[Any, ...]) -> list[Any]:
    version, numbers, gauss = state
    return [version, list(numbers), gauss]


@contextmanager
def preserved_generators() -> Iterator[None]:
    """Leaves all global generators as they were."""
    state = state_of_generators()
    try:
        yield
    finally:
        restore_generators(state)


def check_repeats(net: nn.Module, x: Tensor) -> None:
    """Raises UsageError where a network in training draws what no seed of these generators repeats.

    Args:
        net: The network; a copy of it is tried.
        x: Images (N, C, H, W) of a batch.
    """
    outputs: list[Any] = []
    with preserved_generators(), torch.no_grad():
        for _ in range(2):
            seed_generators(0, "repeats")
            try:
                outputs.append(copy.deepcopy(net).train()(x))
            except Exception:  # a user's code may raise anything: the training says it, where it happens
                return
    one, other = outputs
    if isinstance(one, Tensor) and not torch.allclose(one, other, rtol=1e-3, atol=1e-5, equal_nan=True):
        raise UsageError(f"the network {UNREPEATED}")


def gathered_states(world_size: int) -> list[State]:
    """The states of all processes, by rank. Every process has to call it."""
    own = state_of_generators()
    if world_size == 1 or not dist.is_initialized():
        return [own]
    states: list[Any] = [None] * world_size
    dist.all_gather_object(states, own)
    return states
