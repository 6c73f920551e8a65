"""What is known of a norm, as plain data without torch: measured by `measure`, kept by `catalogue`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from normbench.errors import UsageError

Rule = Literal["one", "all", "fixed", "parts", "past"]
BiasRule = Literal["always", "never", "one channel"]
Constant = Literal["beta", "kept", "other", "not finite"]


def divisors(total: int) -> str:
    """What divides `total`, as text."""
    return ", ".join(str(d) for d in range(1, total + 1) if total % d == 0)


@dataclass(frozen=True)
class Extent:
    """How far a statistic reaches along one axis.

    Args:
        rule: "one" element, "all" of them, a "fixed" number of them, one of so many equal "parts", or of images the
            "past": those before it, in its batch and in earlier ones.
        number: The fixed number, or the number of parts.

    Example:
        >>> Extent("parts", 8).of(32), Extent("fixed", 16).of(64), Extent("fixed", 16).of(4)
        (4, 16, 4)
    """

    rule: Rule
    number: int = 0

    def of(self, total: int) -> int:
        """How many of `total` share a statistic, at most. Parts that do not divide it raise UsageError."""
        if self.rule == "parts" and total % self.number:
            raise UsageError(f"{self.number} does not divide {total}: choose one of {divisors(total)}")
        if self.rule == "parts":
            return total // self.number
        return {"one": 1, "all": total, "past": total, "fixed": min(self.number, total)}[self.rule]

    @property
    def fixed(self) -> int:
        """The fixed number; 0 where there is none."""
        return self.number if self.rule == "fixed" else 0

    @property
    def parts(self) -> int:
        """The number of equal parts; 0 where there is none."""
        return self.number if self.rule == "parts" else 0


@dataclass(frozen=True)
class Facts:
    """What is measured of a norm with given options, while it trains.

    Args:
        norm: Name of the norm, and its options that are integers: "group (groups=8)".
        images: Images of one device (of all of them where `devices`) that share a statistic.
        channels: Channels that share a statistic.
        positions: Positions (H x W, or L) that share a statistic.
        devices: Whether statistics are taken over all devices together.
        remembers: Whether training depends on earlier batches too, so that no batch decides what its statistics are of.
        same_in_eval: Whether evaluation computes the same function as training.
        bias: On which inputs a bias for each channel, added just before the norm, has no effect.
        gamma: Parameters for each channel.
        other_parameters: Parameters besides.
        constant: What a constant input becomes: "beta" (zero but for beta), "kept", "other" or "not finite".
        layouts: Inputs that it takes: vector (N, C), tokens (N, C, L), image (N, C, H, W).
        within: Images, channels and positions of a smaller statistic that is mixed in, by a gate that starts closed
            to it; None where there is none.
        device_group: Devices that share a statistic: 1 where each has its own, 0 where all share them.
        scale_invariant: Whether an input multiplied by a positive number gives the same (eps aside).
        shift_invariant: Whether an input with one number added everywhere gives the same.
    """

    norm: str
    images: Extent
    channels: Extent
    positions: Extent
    devices: bool
    remembers: bool
    same_in_eval: bool
    bias: BiasRule
    gamma: int
    other_parameters: int
    constant: Constant
    layouts: tuple[str, ...]
    within: tuple[Extent, Extent, Extent] | None
    device_group: int
    scale_invariant: bool
    shift_invariant: bool

    @property
    def has_statistics(self) -> bool:
        """Whether any output depends on another value of its batch than its own input."""
        return any(extent.rule != "one" for extent in (self.images, self.channels, self.positions))

    def cancels_bias(self, num_channels: int) -> bool:
        """Whether a bias for each channel, added just before the norm, has exactly no effect."""
        if self.bias == "one channel":
            # Asked before the plan refuses channels that the parts do not divide, so this must not raise.
            divides = num_channels % (self.channels.parts or 1) == 0
            return divides and self.channels.of(num_channels) == 1
        return self.bias == "always"

    def parameters(self, num_channels: int) -> int:
        """Trained parameters of the norm on so many channels."""
        return self.gamma * num_channels + self.other_parameters

    def devices_of(self, total: int) -> int:
        """How many of `total` devices share a statistic. Groups that do not divide them raise UsageError."""
        if not self.devices:
            return 1
        if self.device_group and total % self.device_group:
            raise UsageError(
                f"norm '{self.norm}' takes its statistics from groups of {self.device_group} devices, which does not "
                f"divide the {total} of the run: choose one of {divisors(total)}"
            )
        return self.device_group or total

    def extents(self, images: int, channels: int, positions: int) -> tuple[int, int, int]:
        """Images, channels and positions of the smallest statistic. Arguments as for `values_per_statistic`."""
        found = [(self.images, self.channels, self.positions), *([self.within] if self.within else [])]
        if self.bias == "always":
            # What a channel is moved by is taken off again, so each has a mean of its own, whatever else it shares.
            found.append((self.images, Extent("one"), self.positions))
        sizes = [(n.of(images), c.of(channels), p.of(positions)) for n, c, p in found]
        return min(sizes, key=math.prod)

    def values_per_statistic(self, images: int, channels: int, positions: int) -> int:
        """Values that share one statistic, the smallest where several are mixed.

        0 without statistics, and where no number is known since they are of earlier batches too (`remembers`).

        Args:
            images: Images of a device at a time; of all devices together where `devices`.
            channels: Channels of the norm's input.
            positions: Positions of one channel of one image.
        """
        if not self.has_statistics or self.remembers:
            return 0
        try:
            return math.prod(self.extents(images, channels, positions))
        except UsageError as error:
            raise UsageError(
                f"norm '{self.norm}' cannot divide {images} images, {channels} channels and {positions} positions: "
                f"{error}"
            ) from None

    def degenerate(self, images: int, channels: int, positions: int) -> Literal["one", "two"] | None:
        """ "one" or "two" where a statistic has so few values that (almost) nothing of the input is left."""
        names: dict[int, Literal["one", "two"]] = {1: "one", 2: "two"}
        return names.get(self.values_per_statistic(images, channels, positions))

    def advice(self, images: int, channels: int, positions: int, layout: str = "image") -> str:
        """What would give a statistic more values: only what this norm averages over is named.

        Args:
            images: Images of a device.
            channels: Channels of the norm's input.
            positions: Positions of a channel.
            layout: Of the input; behind a linear layer ("vector") no map can be larger.

        Example:
            >>> one, all_ = Extent("one"), Extent("all")
            >>> group = Facts("group (groups=8)", one, Extent("parts", 8), all_, False, False, True, "one channel",
            ...     2, 0, "beta", ("image",), None, 0, True, True)
            >>> group.advice(32, 8, 1)
            'choose fewer groups, more channels, a larger map or another norm'
        """
        now = self.extents(images, channels, positions)
        ways = []
        if self.extents(2 * images, channels, positions)[0] > now[0]:
            ways.append("a larger batch a device")
        elif self.images.fixed:
            ways.append("more images a part")
        if self.channels.parts > 1:
            ways.append("fewer groups")
        if self.extents(images, 2 * channels, positions)[1] > now[1]:
            ways.append("more channels")
        if self.positions.rule != "one" and layout != "vector":
            ways.append("a larger map")
        return f"choose {', '.join(ways)} or another norm" if ways else "choose another norm"

    def sentence(self, images: int, channels: int, positions: int, layout: str = "image") -> str | None:
        """The line for a degenerate statistic, or None: refused where there is one value, warned of where two are."""
        few = self.degenerate(images, channels, positions)
        if few is None:
            return None
        values = "one value" if few == "one" else "two values"
        return (
            f"norm '{self.norm}' has {values} for each statistic (images {images}, channels {channels}, positions "
            f"{positions}), so {self.left(few)}: {self.advice(images, channels, positions, layout)}"
        )

    def left(self, few: Literal["one", "two"]) -> str:
        """What a norm leaves of the values of such a statistic, in words: less, the more it takes away."""
        if self.shift_invariant:
            of_two = "which of the two is larger" if self.scale_invariant else "the difference of the two"
            return "nothing of the input is left" if few == "one" else f"only {of_two} is left"
        if self.scale_invariant:
            return f"only {'its sign' if few == 'one' else 'the ratio of the two'} is left"
        return "a value is compared with itself alone" if few == "one" else "two values are compared with each other"

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        within = [asdict(extent) for extent in self.within] if self.within else None
        return asdict(self) | {"layouts": list(self.layouts), "within": within}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Facts:
        """The facts that `to_dict` wrote."""
        extents = {name: Extent(**values[name]) for name in ("images", "channels", "positions")}
        within = tuple(Extent(**extent) for extent in values["within"]) if values["within"] else None
        return cls(**{**values, **extents, "layouts": tuple(values["layouts"]), "within": within})
