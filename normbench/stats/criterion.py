"""What counts as a difference, how sure one must be of it, and where its error is taken from."""

from dataclasses import dataclass
from typing import Literal, get_args

from normbench.stats.cell import require_share

ErrorTerm = Literal["paired", "shrunk", "pooled"]
AskedError = Literal["auto", "paired", "shrunk", "pooled"]

PAIRED_FROM = 5  # planned seeds: from here on, to borrow from the other levels gains nothing


def error_term(asked: AskedError, planned_seeds: int) -> ErrorTerm:
    """The error term of a study: "auto" is "shrunk" below five planned seeds and "paired" from five on.

    The plan decides, never the data: a choice made after looking would not keep its level.

    Raises:
        ValueError: `asked` is unknown, or `planned_seeds` is below 1.
    """
    if asked not in get_args(AskedError):
        raise ValueError(f"error={asked!r} is unknown: choose one of {list(get_args(AskedError))}")
    if planned_seeds < 1:
        raise ValueError(f"planned_seeds={planned_seeds}: give the number of seeds that the study plans, at least 1")
    if asked != "auto":
        return asked
    return "shrunk" if planned_seeds < PAIRED_FROM else "paired"


@dataclass(frozen=True)
class Criterion:
    """What counts as a difference in a metric, and how sure one must be of it.

    Attributes:
        higher_is_better: True for an accuracy, False for a loss or a time.
        margin: The smallest difference that matters, in the metric's unit; None: nothing is called equivalent.
        alpha: Level of the whole family of comparisons.
        power: For the seeds needed and the detectable difference.
        error: Where the error of a difference is taken from (`normbench.stats.error`); `error_term` resolves a
            study's "auto".
    """

    higher_is_better: bool = True
    margin: float | None = None
    alpha: float = 0.05
    power: float = 0.8
    error: ErrorTerm = "paired"

    def __post_init__(self) -> None:
        require_share("alpha", self.alpha)
        require_share("power", self.power)
        if self.margin is not None and not self.margin > 0:
            raise ValueError(f"margin={self.margin!r} is not positive: give the smallest difference that matters")
        if self.error not in get_args(ErrorTerm):
            raise ValueError(
                f"error={self.error!r} is not one of {list(get_args(ErrorTerm))}: `error_term` resolves 'auto'"
            )


DEFAULT_CRITERION = Criterion()
