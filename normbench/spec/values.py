"""Values against their types: what is accepted, what it becomes, and the one line that refuses it."""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from normbench.environ import expanded
from normbench.errors import UsageError, nearest


@cache
def _adapter(hint: Any) -> Any:
    from pydantic import ConfigDict, TypeAdapter

    return TypeAdapter(hint, config=ConfigDict(strict=True, allow_inf_nan=False, arbitrary_types_allowed=True))


class Range:
    """A range of numbers, as the annotation of a type: `Annotated[int, Range(1)]`.

    Args:
        low: The smallest value.
        high: The largest value; None: there is none.
        open_low: `low` itself is not allowed.
        open_high: `high` itself is not allowed.
    """

    def __init__(
        self, low: float | None = None, high: float | None = None, open_low: bool = False, open_high: bool = False
    ) -> None:
        self.low, self.high, self.open_low, self.open_high = low, high, open_low, open_high

    def has(self, value: float) -> bool:
        """Whether a number lies in the range."""
        above = self.low is None or (value > self.low if self.open_low else value >= self.low)
        below = self.high is None or (value < self.high if self.open_high else value <= self.high)
        return above and below

    def __str__(self) -> str:
        low = "" if self.low is None else f"{'above' if self.open_low else 'from'} {_digits(self.low)}"
        high = "" if self.high is None else f"{'below' if self.open_high else 'to'} {_digits(self.high)}"
        return f"{low} {high}".strip()


def _digits(bound: float) -> str:
    return str(bound) if isinstance(bound, int) else f"{bound:g}"


_LISTS = (list, Sequence)

Count = Annotated[int, Range(1)]
Amount = Annotated[int, Range(1, 10**15)]  # what shares of are taken: floats hold it to the digit
Number = Annotated[int, Range(0)]
Positive = Annotated[float, Range(0, open_low=True)]
NonNegative = Annotated[float, Range(0)]
Probability = Annotated[float, Range(0, 1, open_high=True)]
Momentum = Annotated[float, Range(0, 1)]
Share = Annotated[float, Range(0, 1)]
Factor = Annotated[float, Range(1)]


def checked(value: Any, hint: Any, key: str) -> Any:
    """`value` as an instance of `hint` (a whole number is a float, a sequence becomes a list), or a UsageError.

    Example:
        >>> checked(1, float, "optimizer.lr")
        1.0
        >>> checked("bf16_mixed", Literal["32-true", "bf16-mixed"], "trainer.precision")
        Traceback (most recent call last):
        normbench.errors.UsageError: trainer.precision=bf16_mixed: expected one of 32-true, bf16-mixed; \
did you mean 'bf16-mixed'?
    """
    from pydantic import ValidationError

    try:
        found = _adapter(hint).validate_python(value)
    except ValidationError:
        own = plain(value)
        if own is value:
            raise UsageError(_refusal(value, hint, key)) from None
        return checked(own, hint, key)
    if not _in_range(found, hint):
        raise UsageError(_refusal(value, hint, key))
    return found


def plain(value: Any) -> Any:
    """NumPy's numbers and arrays, and tuples, as Python's own numbers and lists; anything else as it is."""
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        return value.tolist()
    if not isinstance(value, list | tuple):
        return value
    parts = [plain(part) for part in value]
    same = isinstance(value, list) and all(new is old for new, old in zip(parts, value, strict=True))
    return value if same else parts


def _in_range(value: Any, hint: Any) -> bool:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        ranges = [part for part in args[1:] if isinstance(part, Range)]
        return all(part.has(value) for part in ranges) and _in_range(value, args[0])
    if origin in (types.UnionType, typing.Union):
        return any(_matches(value, part) and _in_range(value, part) for part in args)
    if origin in _LISTS and isinstance(value, list | tuple):
        return all(_in_range(item, args[0]) for item in value)
    return True


def _matches(value: Any, hint: Any) -> bool:
    from pydantic import ValidationError

    try:
        _adapter(hint).validate_python(value)
    except ValidationError:
        return False
    return True


def _refusal(value: Any, hint: Any, key: str) -> str:
    shown = shown_value(value)
    near = nearest(value, choices(hint))
    advice = f"; did you mean '{near}'?" if near else ""
    if isinstance(value, str) and any(_is_fine(meant, hint) for meant in _unquoted(value)):
        advice = f"; '{value}' is text: leave out the quotes"
    return f"{key}={shown}: expected {expected(hint)}{advice}"


def _is_fine(value: Any, hint: Any) -> bool:
    try:
        checked(value, hint, "")
    except UsageError:
        return False
    return True


def _unquoted(text: str) -> Iterator[Any]:
    """What a text would be without quotes: it looks right in an error, and is not."""
    for kind in (int, float):
        with suppress(ValueError):
            yield kind(text)
    if text in ("true", "false"):
        yield text == "true"
    if text == "null":
        yield None


def at_home(path: str | Path, what: str) -> Path:
    """A path of a user's, whose `~` is home. Raises UsageError, which says `what` it was, where there is none."""
    found = expanded(str(path))
    if found is None:
        raise UsageError(f"{what} {path}: there is no such home folder: write the whole path")
    return found


def shown_value(value: Any) -> str:
    """A value as a user writes it in YAML."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float) and not math.isfinite(value):
        return {math.inf: ".inf", -math.inf: "-.inf"}.get(value, ".nan")
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(shown_value, value))}]"
    return str(value)


def choices(hint: Any) -> list[str]:
    """The words that a type admits."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return [str(choice) for choice in args]
    if origin is Annotated:
        return choices(args[0])
    if origin in (types.UnionType, typing.Union):
        return [choice for part in args for choice in choices(part)]
    return []


def expected(hint: Any) -> str:
    """A type in words: `a whole number from 1 or null`."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        ranges = [str(part) for part in args[1:] if isinstance(part, Range)]
        return " ".join([expected(args[0]), *ranges])
    if origin is Literal:
        return "one of " + ", ".join(str(choice) for choice in args)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(expected(part) for part in args)
    if origin in _LISTS:
        return f"a list, each {expected(args[0])}" if args else "a list"
    if origin is dict and typing.get_origin(args[1]) is dict:
        return "a mapping of names to options, as {name: {option: value}}"
    names: dict[Any, str] = {
        int: "a whole number",
        float: "a number",
        str: "text",
        bool: "true or false",
        type(None): "null",
        Any: "any value",
    }
    return names.get(hint, "a mapping" if origin is dict or hint is dict else getattr(hint, "__name__", str(hint)))
