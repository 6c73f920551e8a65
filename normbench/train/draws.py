"""Modes that watch or govern the random draws of a network's builder, at the level of torch's operators.

Operators that draw are known by torch's own tag (`nondeterministic_seeded`), so no list of them has to be kept.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from normbench.seeds import generator

RESETS = ("reset_parameters", "_reset_parameters")
_TORCH = str(Path(torch.__file__).parent)


def reset_method(module: nn.Module) -> Callable[[], Any] | None:
    """The method with which a layer draws its parameters, or None."""
    return next((getattr(module, name) for name in RESETS if callable(getattr(module, name, None))), None)


def draws(operator: Any) -> bool:
    """Whether an operator takes random numbers."""
    return torch.Tag.nondeterministic_seeded in operator.tags


def _callers() -> Iterator[FrameType]:
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        yield frame
        frame = frame.f_back


def _resetting() -> object | None:
    """The layer whose reset method is running, innermost first, or None."""
    for frame in _callers():
        if frame.f_code.co_name in RESETS:
            return frame.f_locals.get("self")
    return None


def _drawer() -> str:
    """Name of the function that draws: the innermost outside torch, or a layer's reset method."""
    for frame in _callers():
        code = frame.f_code
        if code.co_name in RESETS or not code.co_filename.startswith((_TORCH, __file__)):
            return code.co_qualname
    return ""


class Origins(TorchDispatchMode):
    """Notes which layer's reset method wrote each tensor, and forgets it where something else writes to it later."""

    def __init__(self) -> None:
        super().__init__()
        self._writer: dict[int, object] = {}  # by address; the layers live as long as the network that holds them

    def drawn_by(self, tensor: Tensor, module: nn.Module) -> bool:
        """Whether the last to write to `tensor` was the reset method of `module` itself."""
        return self._writer.get(tensor.data_ptr()) is module

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        schema = func._schema
        if schema.is_mutable:
            written = args[0] if args else None
        elif all(value.alias_info is None for value in schema.returns):
            written = result  # a fresh tensor, perhaps where a forgotten one was
        else:
            return result  # a view
        if isinstance(written, Tensor):
            layer = _resetting() if schema.is_mutable else None
            if layer is None:
                self._writer.pop(written.data_ptr(), None)
            else:
                self._writer[written.data_ptr()] = layer
        return result


class NamedDraws(TorchDispatchMode):
    """Reseeds torch before every draw from (seed, name, operator, shape, how many such the same function made before).

    Counting by function keeps a norm that draws from moving what the model around it draws.
    """

    def __init__(self, seed: int, name: str) -> None:
        super().__init__()
        self.seed, self.name = seed, name
        self._before: Counter[tuple[str, ...]] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if draws(func) and kwargs.get("generator") is None:
            operator = func._schema.name
            first = args[0] if args else ""
            shape = str(tuple(first.shape) if isinstance(first, Tensor) else first)
            key = (operator, shape, _drawer())
            count = self._before[key]
            self._before[key] += 1
            torch.manual_seed(generator(self.seed, "draw", self.name, operator, shape, count).initial_seed())
        return func(*args, **kwargs)
