"""Values against their types."""

from collections.abc import Sequence
from math import inf, nan
from typing import Annotated, Any, Literal

import numpy as np
import pytest

from normbench.errors import UsageError
from normbench.spec.values import Count, Momentum, Number, Positive, Probability, Range, checked

Word = Literal["32-true", "bf16-mixed"]


@pytest.mark.parametrize(
    ("value", "hint", "found"),
    [
        (1, float, 1.0),
        (3, Count, 3),
        (0, Number, 0),
        (None, Count | None, None),
        (2, Count | None, 2),
        ([1, 2], list[Count], [1, 2]),
        ([1, 2], Sequence[Count], [1, 2]),
        ("bf16-mixed", Word, "bf16-mixed"),
        ("same", Literal["same", "valid"] | Number, "same"),
        (0, Literal["same", "valid"] | Number, 0),
        ("torch", Literal["torch"] | float, "torch"),
        (0, Literal["torch"] | float, 0.0),
        ({"a": 1}, dict[str, Any], {"a": 1}),
        (1, Momentum, 1.0),
        ((1, 2), list[Count], [1, 2]),
        (np.int64(3), Count, 3),
        (np.float64(0.5), Positive, 0.5),
        (np.bool_(True), bool, True),
        (np.arange(1, 3), list[Count], [1, 2]),
        ([np.int64(1), 2], list[Count], [1, 2]),
    ],
)
def test_accepted(value: Any, hint: Any, found: Any) -> None:
    result = checked(value, hint, "key")
    assert result == found
    assert type(result) is type(found)


@pytest.mark.parametrize(
    ("value", "hint", "words"),
    [
        ("1", int, "key=1: expected a whole number; '1' is text: leave out the quotes"),
        (1.5, Count, "key=1.5: expected a whole number from 1"),
        (0, Count, "key=0: expected a whole number from 1"),
        (-1, Number, "key=-1: expected a whole number from 0"),
        (True, Count, "key=true: expected a whole number from 1"),
        (1, bool, "key=1: expected true or false"),
        (nan, float, "key=.nan: expected a number"),
        (inf, Positive, "key=.inf: expected a number above 0"),
        (-0.1, Positive, "key=-0.1: expected a number above 0"),
        (1.0, Probability, "key=1.0: expected a number from 0 below 1"),
        (7, Momentum, "key=7: expected a number from 0 to 1"),
        ("bf16_mixed", Word, "key=bf16_mixed: expected one of 32-true, bf16-mixed; did you mean 'bf16-mixed'?"),
        ([1, 0], list[Count], "key=[1, 0]: expected a list, each a whole number from 1"),
        ([1, 0], Sequence[Count], "key=[1, 0]: expected a list, each a whole number from 1"),
        ("x", Count | None, "key=x: expected a whole number from 1 or null"),
        (-1, Literal["same"] | Number, "key=-1: expected one of same or a whole number from 0"),
        (None, float, "key=null: expected a number"),
        (5, Annotated[int, Range(high=4)], "key=5: expected a whole number to 4"),
        ("abc", Sequence[Count], "key=abc: expected a list, each a whole number from 1"),
    ],
)
def test_refused_in_one_line(value: Any, hint: Any, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        checked(value, hint, "key")
    assert str(caught.value) == words


@pytest.mark.parametrize(("text", "hint"), [("0.1", Positive), ("8", Count), ("true", bool), ("3", int | None)])
def test_a_number_in_quotes_is_told_that_it_is_text(text: str, hint: Any) -> None:
    with pytest.raises(UsageError, match=rf"^k={text}: expected .*; '{text}' is text: leave out the quotes$"):
        checked(text, hint, "k")


def test_another_text_is_not() -> None:
    for text, hint in (("-1", Positive), ("x", Count), ("1.5", Count)):
        with pytest.raises(UsageError) as caught:
            checked(text, hint, "k")
        assert "quotes" not in str(caught.value)
