"""Measures what a norm does, in float64 on small inputs: nobody has to declare it."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from normbench.errors import UsageError
from normbench.norms.contract import Reparametrizes
from normbench.norms.facts import BiasRule, Constant, Extent, Facts
from normbench.norms.registry import built
from normbench.spec.registry import Entry

SHAPES: dict[str, tuple[int, ...]] = {"image": (2, 3), "tokens": (6,), "vector": ()}
LARGEST = 512  # images or channels tried: an integer option above it is taken for something else
TOLERANCE = 1e-9  # far above the rounding of float64, far below any change made here


def channel_counts(options: Mapping[str, Any]) -> list[int]:
    """Numbers of channels to try: small ones, and multiples of every integer option."""
    return sorted({1, 2, 3, 4, 6, 12} | _multiples(options))


def _image_counts(options: Mapping[str, Any]) -> list[int]:
    return sorted({2, 3, 4, 6, 12, 64} | _multiples(options))


def _multiples(options: Mapping[str, Any]) -> set[int]:
    whole = [v for v in options.values() if isinstance(v, int) and not isinstance(v, bool) and v > 0]
    return {k * v for v in whole for k in (1, 2, 3, 4) if k * v <= LARGEST}


def measure(entry: Entry, options: Mapping[str, Any]) -> Facts:
    """The facts of a norm with all of its options. Torch's random state stays as it was.

    Raises UsageError where the norm takes none of the inputs tried, or its statistics follow no rule of `Extent`;
    RuntimeError where processes are connected already, whose collectives the measurement would disturb.
    """
    if dist.is_available() and dist.is_initialized():
        raise RuntimeError(f"norm '{entry.name}' must be measured before processes are connected")
    with torch.random.fork_rng(devices=[]), torch.device("cpu"), torch.no_grad():
        return _Subject(entry, options).facts()


class _Subject:
    """One norm with its options, tried on inputs."""

    def __init__(self, entry: Entry, options: Mapping[str, Any]) -> None:
        self.entry, self.options = entry, options
        whole = {k: v for k, v in options.items() if isinstance(v, int) and not isinstance(v, bool)}
        listed = ", ".join(f"{key}={value}" for key, value in whole.items())
        self.label = f"{entry.name} ({listed})" if listed else entry.name
        self.error: Exception | None = None
        self.gates: tuple[str, ...] = ()
        self.channels = [count for count in channel_counts(options) if self.output(4, count, (2, 3)) is not None]
        if not self.channels:  # a norm of vectors, perhaps, or of a batch of its own
            images = _image_counts(options)
            counts = channel_counts(options)
            tried = [(n, c) for c in counts for n in images if any(self.takes(n, c, s) for s in SHAPES.values())]
            if not tried:
                raise UsageError(f"norm '{self.label}' takes no input (N, C, H, W), (N, C, L) or (N, C): {self.error}")
            self.channels = sorted({c for _, c in tried})
        self.width = next((c for c in self.channels if c > 1), self.channels[0])
        candidates = _image_counts(options)
        self.layouts = tuple(
            name
            for name, shape in SHAPES.items()
            if any(self.takes(n, c, shape) for n in candidates for c in (self.width, self.channels[-1]))
        )
        self.shape = SHAPES[self.layouts[0]]
        self.images = [n for n in candidates if self.takes(n, self.width, self.shape)]
        self.batch = next((n for n in self.images if n >= 4), self.images[-1])
        self.gates = tuple(self._closed_gates())

    def module(self, channels: int, spatial: bool) -> nn.Module:
        torch.manual_seed(0)
        norm = built(self.entry, channels, self.options, spatial).double().train()
        for name in self.gates:
            norm.get_parameter(name).fill_(1)
        return norm

    def _closed_gates(self) -> Iterator[str]:
        """Parameters that start at zero and hide what the norm computes: a gamma, not a beta."""
        norm = self.module(self.width, len(self.shape) == 2)
        x, other = (self.input(self.batch, self.width, self.shape, seed) for seed in (1, 2))
        for name, parameter in norm.named_parameters():
            if parameter.numel() and not parameter.any():
                before = _run(norm, x) - _run(norm, other)
                parameter.fill_(1)
                after = _run(norm, x) - _run(norm, other)
                # A threshold hides values where a gate shows them.
                if _equal(after, before) or after.count_nonzero() < before.count_nonzero():
                    parameter.zero_()
                else:
                    yield name

    def input(self, images: int, channels: int, shape: tuple[int, ...], seed: int = 1) -> Tensor:
        make = torch.Generator().manual_seed(seed)
        return torch.randn((images, channels, *shape), generator=make, dtype=torch.float64)

    def output(self, images: int, channels: int, shape: tuple[int, ...]) -> Tensor | None:
        """What a new norm makes of an input, or None where it refuses."""
        try:
            return _run(self.module(channels, len(shape) == 2), self.input(images, channels, shape))
        except Exception as error:  # a user's norm may refuse in its own way
            self.error = error
            return None

    def takes(self, images: int, channels: int, shape: tuple[int, ...]) -> bool:
        return self.output(images, channels, shape) is not None

    def shared(self, axis: int, images: int, channels: int, shape: tuple[int, ...]) -> int:
        """How many slices along an axis matter for the middle slice of the output, itself included.

        The middle one, since a window of neighbours is cut off at the edges.
        """
        norm = self.module(channels, len(shape) == 2)
        # Positions of a map are counted together.
        x, other = (self.input(images, channels, shape, seed).flatten(2) for seed in (1, 2))
        middle = x.shape[axis] // 2

        def slice_of(values: Tensor) -> Tensor:
            return _run(norm, values.reshape(images, channels, *shape)).reshape(x.shape).select(axis, middle)

        def matters(indices: list[int]) -> bool:
            changed = x.clone()
            changed.index_copy_(axis, torch.tensor(indices), other.index_select(axis, torch.tensor(indices)))
            return not _equal(slice_of(x), slice_of(changed))

        free = _without_gradient(slice_of, x, axis, middle)
        # A statistic without a gradient is one too: what the gradient leaves out is changed, at first all at once.
        if free and matters(free):
            free = [index for index in free if not matters([index])]
        return x.shape[axis] - len(free)

    def extent(self, axis: str, found: Mapping[int, int]) -> Extent:
        """The rule that all (total, shared) pairs follow."""
        most = max(found.values(), default=1)
        quotients = {total // shared for total, shared in found.items() if total % shared == 0}
        rules = [Extent("one"), Extent("all"), Extent("fixed", most), *(Extent("parts", k) for k in quotients)]
        for rule in rules:
            try:
                if all(rule.of(total) == shared for total, shared in found.items()):
                    return rule
            except UsageError:
                continue
        raise UsageError(f"norm '{self.label}': its statistics follow no rule over {axis} (total: shared): {found}")

    def facts(self) -> Facts:
        images, channels, shape = self.batch, self.width, self.shape
        over_images = {n: self.shared(0, n, channels, shape) for n in self.images}
        over_channels = {c: self.shared(1, images, c, shape) for c in self.channels}
        lengths = [(side, 3) if len(shape) == 2 else (3 * side,) for side in (1, 2, 4)] if shape else []
        over_positions = {s[0] * (s[1] if len(s) == 2 else 1): s for s in lengths if self.takes(images, channels, s)}
        positions = {p: self.shared(2, images, channels, s) for p, s in over_positions.items()}
        reach = self.extent("channels", over_channels)
        small, large = self.channels[0], self.channels[-1]
        few, many = self.parameters(small), self.parameters(large)
        gamma = (many - few) // (large - small) if large > small else 0
        return Facts(
            norm=self.label,
            images=self.extent("images", over_images),
            channels=reach,
            positions=self.extent("positions", positions),
            devices=self.spans_devices(),
            same_in_eval=self.same_in_eval(),
            bias=self.bias_rule(reach),
            gamma=gamma,
            other_parameters=few - gamma * small,
            constant=self.constant(),
            layouts=self.layouts,
        )

    def parameters(self, channels: int) -> int:
        module = self.module(channels, len(self.shape) == 2)
        found = _trained(module)
        if isinstance(module, Reparametrizes):
            layer = nn.Linear(3, channels).double()
            before = _trained(layer)
            module.reparametrize(layer)
            found += _trained(layer) - before
        return found

    def same_in_eval(self) -> bool:
        norm = self.module(self.width, len(self.shape) == 2)
        for seed in (2, 3):  # running averages, if there are any, leave their first values
            _forward(norm, 3 * self.input(self.batch, self.width, self.shape, seed))
        x = self.input(self.batch, self.width, self.shape)
        return _equal(_run(norm, x), _run(norm.eval(), x))

    def bias_rule(self, reach: Extent) -> BiasRule:
        cancelled = {}
        for count in self.channels:
            norm, x = self.module(count, len(self.shape) == 2), self.input(self.batch, count, self.shape)
            bias = self.input(1, count, (), seed=4).view(1, -1, *[1] * len(self.shape))
            cancelled[count] = _equal(_run(norm, x + bias), _run(norm, x))
        if all(cancelled.values()):
            several = any(reach.of(count) > 1 for count in cancelled)
            return "always" if several or reach.rule == "one" else "one channel"
        if all(gone == (reach.of(count) == 1) for count, gone in cancelled.items()):
            return "one channel"
        return "never"  # or by a rule not known here: a bias kept is never wrong

    def constant(self) -> Constant:
        norm = self.module(self.width, len(self.shape) == 2)
        x = torch.full((self.batch, self.width, *self.shape), 3.0, dtype=torch.float64)
        y = _run(norm, x)
        if not bool(torch.isfinite(y).all()):
            return "not finite"
        return "kept" if _equal(y, x) else "beta" if _equal(y, torch.zeros_like(y)) else "other"

    def spans_devices(self) -> bool:
        """Whether the norm talks to other processes while it trains, among two that are simulated."""
        norm, x = self.module(self.width, len(self.shape) == 2), self.input(self.batch, self.width, self.shape)
        return _talks(norm, x, claimed=self.entry.facts["claims"].get("scope") == "global")


def _trained(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def _forward(norm: nn.Module, x: Tensor) -> Tensor:
    torch.manual_seed(0)
    y = norm(x)
    if not isinstance(y, Tensor) or y.shape != x.shape:
        raise UsageError(f"a norm keeps the shape of its input, {tuple(x.shape)}")
    return y


def _without_gradient(output: Callable[[Tensor], Tensor], x: Tensor, axis: int, own: int) -> list[int]:
    """Indices of an axis, but for `own`, whose values the gradient of that slice of the output does not reach."""
    source = x.clone().requires_grad_()
    everything = [index for index in range(x.shape[axis]) if index != own]
    with torch.enable_grad():
        y = output(source)
        if not y.requires_grad:
            return everything
        weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(5), dtype=y.dtype)
        (gradient,) = torch.autograd.grad((y * weights).sum(), source, allow_unused=True)
    if gradient is None:
        return everything
    reached = gradient.movedim(axis, 0).flatten(1).abs().amax(1)
    limit = 1e-12 * float(reached.max())
    return [index for index in everything if float(reached[index]) <= limit]


def _run(norm: nn.Module, x: Tensor) -> Tensor:
    """The output for x; the norm's own state stays as it was."""
    return _forward(copy.deepcopy(norm), x)


def _equal(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)


class _Collectives(TorchDispatchMode):
    """Notices every collective operation."""

    seen = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen |= func.namespace in ("c10d", "_c10d_functional")
        return func(*args, **(kwargs or {}))


@contextmanager
def _two_processes() -> Iterator[None]:
    """A process group of two in which the other one does nothing; none is left behind."""
    from torch.testing._internal.distributed.fake_pg import FakeStore

    hook = sys.excepthook  # which the group replaces by one that writes the rank before every line
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=2)
    try:
        yield
    finally:
        dist.destroy_process_group()
        sys.excepthook = hook


def _talks(norm: nn.Module, x: Tensor, claimed: bool) -> bool:
    if not dist.is_available():
        return False
    other = copy.deepcopy(norm)  # made here: under a dispatch mode a copy imports torch's compiler
    alone = _forward(norm, x)
    try:
        with _two_processes(), _Collectives() as collectives:
            together = _forward(other, x)
    except ImportError:  # this torch has no simulated processes: the author's word is all there is
        return claimed
    return collectives.seen or not _equal(alone, together)
