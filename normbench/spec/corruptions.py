"""What a trained network may be tested on besides: test images that are changed, at a stated strength."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

from normbench.errors import UsageError, unknown
from normbench.spec.document import parse_yaml

# Strength where none is given. contrast: factor of the distance from the image's mean; brightness: added, of pixels
# from 0 to 1; noise: standard deviation of the normal noise, likewise; blur: standard deviation of the Gaussian, in
# pixels; shift: pixels in one of four directions.
STRENGTHS = {"contrast": 0.4, "brightness": 0.3, "noise": 0.3, "blur": 1.0, "shift": 2.0}


class Corruption(NamedTuple):
    """A change of test images."""

    kind: str
    strength: float

    def __str__(self) -> str:
        return f"{self.kind}={repr(self.strength).removesuffix('.0')}"


def corruption(text: str, key: str) -> Corruption:
    """`noise` or `noise=0.2` as a corruption; what there is not raises UsageError that names `key`.

    Example:
        >>> str(corruption("blur", "")), str(corruption("noise=0.20", ""))
        ('blur=1', 'noise=0.2')
    """
    kind, equals, number = (part.strip() for part in text.partition("="))
    if kind not in STRENGTHS:
        raise UsageError(f"{key}: {unknown('corruption', kind, STRENGTHS)}")
    strength = parse_yaml(number, f"{key}: {text}") if equals else STRENGTHS[kind]
    most = {"contrast": 1.0, "brightness": 1.0}.get(kind, 1000.0)
    given = isinstance(strength, int | float) and not isinstance(strength, bool)
    if not given or not 0 < strength <= most or (kind == "shift" and strength % 1):
        wanted = "a whole number of pixels from 1" if kind == "shift" else f"a number above 0, {most:g} at most"
        raise UsageError(f"{key}: {text}: the strength of {kind} is {wanted}, for example {kind}={STRENGTHS[kind]:g}")
    return Corruption(kind, float(strength))


def corruptions(texts: Iterable[str], key: str) -> list[Corruption]:
    """Several, in the order of STRENGTHS. One kind twice raises UsageError: a result has one column for each."""
    found = [corruption(text, key) for text in texts]
    order = list(STRENGTHS)
    found.sort(key=lambda one: order.index(one.kind))
    for one, other in pairwise(found):
        if one.kind == other.kind:
            raise UsageError(f"{key}: {one} and {other}: give each kind once")
    return found
