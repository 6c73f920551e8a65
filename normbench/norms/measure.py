"""Measures what a norm does, in float64 on small inputs: nobody has to declare it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from normbench.errors import UsageError
from normbench.norms.contract import Reparametrizes
from normbench.norms.facts import BiasRule, Constant, Extent, Facts
from normbench.norms.registry import built
from normbench.norms.response import Slice, check_draws, equal, forward, run, trained
from normbench.norms.simulated import talking
from normbench.spec.registry import Entry

SHAPES: dict[str, tuple[int, ...]] = {"image": (2, 3), "tokens": (6,), "vector": ()}
LARGEST = 512  # images or channels tried: an integer option above it is taken for something else
INVARIANT = 1e-3  # what an eps of 1e-4 or less may do to values of one


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
        self.shut: str | None = None  # a parameter that is zero, to see what it hides
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
        self.remembers = self.remembering()

    def module(self, channels: int, spatial: bool) -> nn.Module:
        torch.manual_seed(0)
        norm = built(self.entry, channels, self.options, spatial).double().train()
        for name in self.gates:
            norm.get_parameter(name).fill_(1)
        if self.shut:
            norm.get_parameter(self.shut).zero_()
        return norm

    def _closed_gates(self) -> Iterator[str]:
        """Parameters that start at zero and hide what the norm computes: a gamma, not a beta."""
        norm = self.module(self.width, len(self.shape) == 2)
        x, other = (self.input(self.batch, self.width, self.shape, seed) for seed in (1, 2))
        for name, parameter in norm.named_parameters():
            if parameter.numel() and not parameter.any():
                before = run(norm, x) - run(norm, other)
                parameter.fill_(1)
                after = run(norm, x) - run(norm, other)
                # A threshold hides values where a gate shows them.
                if equal(after, before) or after.count_nonzero() < before.count_nonzero():
                    parameter.zero_()
                else:
                    yield name

    def input(self, images: int, channels: int, shape: tuple[int, ...], seed: int = 1) -> Tensor:
        make = torch.Generator().manual_seed(seed)
        return torch.randn((images, channels, *shape), generator=make, dtype=torch.float64)

    def output(self, images: int, channels: int, shape: tuple[int, ...]) -> Tensor | None:
        """What a new norm makes of an input, or None where it refuses."""
        try:
            return run(self.module(channels, len(shape) == 2), self.input(images, channels, shape))
        except Exception as error:  # a user's norm may refuse in its own way
            self.error = error
            return None

    def takes(self, images: int, channels: int, shape: tuple[int, ...]) -> bool:
        return self.output(images, channels, shape) is not None

    def shared(self, axis: int, images: int, channels: int, shape: tuple[int, ...]) -> int:
        """How many slices along an axis matter for a slice of the output, itself included.

        For the middle one, since a window of neighbours is cut off at the edges; of images for the last one too, since
        a norm may look at those before alone.
        """
        length = (images, channels)[axis] if axis < 2 else math.prod(shape)
        found = self.slice_of(length // 2, axis, images, channels, shape).shared()
        if axis == 0 and found == length // 2 + 1 < length:
            found = max(found, self.slice_of(length - 1, axis, images, channels, shape).shared())
        return found

    def slice_of(self, index: int, axis: int, images: int, channels: int, shape: tuple[int, ...]) -> Slice:
        """An image, a channel, or a position of the output of a new norm."""
        x, other = (self.input(images, channels, shape, seed) for seed in (1, 2))
        return Slice(self.module(channels, len(shape) == 2), x, other, axis, index)

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

    def extents(self) -> tuple[Extent, Extent, Extent]:
        """Images, channels and positions that share a statistic."""
        images, channels, shape = self.batch, self.width, self.shape
        over_channels = {c: self.shared(1, images, c, shape) for c in self.channels}
        lengths = [(side, 3) if len(shape) == 2 else (3 * side,) for side in (1, 2, 4)] if shape else []
        over_positions = {s[0] * (s[1] if len(s) == 2 else 1): s for s in lengths if self.takes(images, channels, s)}
        positions = {p: self.shared(2, images, channels, s) for p, s in over_positions.items()}
        return (
            self.over_images(),
            self.extent("channels", over_channels),
            self.extent("positions", positions),
        )

    def over_images(self) -> Extent:
        """Images that share a statistic. How many a norm of the past remembers is no rule: their weights fade."""
        if self.remembers and all(self.looks_back(n) for n in self.images):
            return Extent("past")
        return self.extent("images", {n: self.shared(0, n, self.width, self.shape) for n in self.images})

    def looks_back(self, images: int) -> bool:
        """Whether the one before the middle image of a batch matters for it, and none after it.

        Values tell: a gradient that is corrected from image to image reaches others.
        """
        middle = images // 2
        at = self.slice_of(middle, 0, images, self.width, self.shape)
        return at.depends_on([middle - 1]) and not at.depends_on(list(range(middle + 1, images)))

    def remembering(self) -> bool:
        """Whether an output in training depends on the batch before."""
        x, outputs = self.input(self.batch, self.width, self.shape), []
        for seed in (2, 3):
            norm = self.module(self.width, len(self.shape) == 2)
            forward(norm, 3 * self.input(self.batch, self.width, self.shape, seed))
            outputs.append(run(norm, x))
        return not equal(*outputs)

    def within(self, known: tuple[Extent, Extent, Extent]) -> tuple[Extent, Extent, Extent] | None:
        """What shares a statistic where a gate that starts at one is shut, if that is something else."""
        norm, x = self.module(self.width, len(self.shape) == 2), self.input(self.batch, self.width, self.shape)
        before = run(norm, x)
        for name, parameter in norm.named_parameters():
            if not parameter.numel() or not bool((parameter == 1).all()):
                continue
            parameter.zero_()
            after = run(norm, x)
            parameter.fill_(1)
            if equal(after, before) or equal(after, after.mean().expand_as(after)):
                continue  # it decides nothing, or it is the scale of all
            self.shut = name
            try:
                found = self.extents()
            except UsageError:  # no statistic by itself: a slope, say, that decides where another one counts
                continue
            finally:
                self.shut = None
            if found != known and any(extent.rule != "one" for extent in found):
                return found
        return None

    def facts(self) -> Facts:
        inputs = [sign * self.input(self.batch, self.width, self.shape, seed) for seed in (1, 2, 3) for sign in (1, -1)]
        check_draws(self.label, self.module(self.width, len(self.shape) == 2), inputs)
        extents = self.extents()
        reach = extents[1]
        small, large = self.channels[0], self.channels[-1]
        few, many = self.parameters(small), self.parameters(large)
        gamma = (many - few) // (large - small) if large > small else 0
        group = self.device_group()
        return Facts(
            norm=self.label,
            images=extents[0],
            channels=reach,
            positions=extents[2],
            devices=group != 1,
            remembers=self.remembers,
            same_in_eval=self.same_in_eval(),
            bias=self.bias_rule(reach),
            gamma=gamma,
            other_parameters=few - gamma * small,
            constant=self.constant(),
            layouts=self.layouts,
            within=self.within(extents),
            device_group=max(0, group),
            scale_invariant=self.unchanged_by(lambda x: 4 * x),
            shift_invariant=self.unchanged_by(lambda x: x + 3),
        )

    def parameters(self, channels: int) -> int:
        module = self.module(channels, len(self.shape) == 2)
        found = trained(module)
        if isinstance(module, Reparametrizes):
            layer = nn.Linear(3, channels).double()
            before = trained(layer)
            module.reparametrize(layer)
            found += trained(layer) - before
        return found

    def same_in_eval(self) -> bool:
        norm = self.module(self.width, len(self.shape) == 2)
        for seed in (2, 3):  # running averages, if there are any, leave their first values
            forward(norm, 3 * self.input(self.batch, self.width, self.shape, seed))
        x = self.input(self.batch, self.width, self.shape)
        return equal(run(norm, x), run(norm.eval(), x))

    def bias_rule(self, reach: Extent) -> BiasRule:
        cancelled = {}
        for count in self.channels:
            norm, x = self.module(count, len(self.shape) == 2), self.input(self.batch, count, self.shape)
            bias = self.input(1, count, (), seed=4).view(1, -1, *[1] * len(self.shape))
            cancelled[count] = equal(run(norm, x + bias), run(norm, x))
        if all(cancelled.values()):
            several = any(reach.of(count) > 1 for count in cancelled)
            return "always" if several or reach.rule == "one" else "one channel"
        if all(gone == (reach.of(count) == 1) for count, gone in cancelled.items()):
            return "one channel"
        return "never"  # or by a rule not known here: a bias kept is never wrong

    def constant(self) -> Constant:
        norm = self.module(self.width, len(self.shape) == 2)
        x = torch.full((self.batch, self.width, *self.shape), 3.0, dtype=torch.float64)
        y = run(norm, x)
        if not bool(torch.isfinite(y).all()):
            return "not finite"
        return "kept" if equal(y, x) else "beta" if equal(y, torch.zeros_like(y)) else "other"

    def unchanged_by(self, change: Callable[[Tensor], Tensor]) -> bool:
        """Whether a changed input gives the same, but for what an eps does: where it is an option it is small."""
        options = {**self.options, "eps": 1e-12} if "eps" in self.options else self.options
        norm = built(self.entry, self.width, options, len(self.shape) == 2).double().train()
        for name in self.gates:
            norm.get_parameter(name).fill_(1)
        x = self.input(self.batch, self.width, self.shape)
        return torch.allclose(run(norm, x), run(norm, change(x)), rtol=INVARIANT, atol=INVARIANT)

    def device_group(self) -> int:
        """Devices that share a statistic, among some that are simulated: 1 without any talk, 0 for all of them."""
        norm, x = self.module(self.width, len(self.shape) == 2), self.input(self.batch, self.width, self.shape)
        worlds = sorted({2, 4} | {count for count in _multiples(self.options) if count > 1})
        try:
            found = {world: size for world in worlds if (size := talking(norm, x, world))}
        except ImportError:  # this torch has no simulated processes: the author's word is all there is
            return 0 if self.entry.facts["claims"].get("scope") == "global" else 1
        rule = self.extent("devices", found or {1: 1})
        return {"one": 1, "all": 0}.get(rule.rule, rule.number)
