"""A published claim: source, experiment, criterion, and how its verdict is computed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import pandas as pd

    from normbench.report import Evidence

Verdict = Literal["reproduced", "contradicted", "open"]
LEVEL = 0.95  # of the interval of a quantity over seeds
MOST_SEEDS = 1000


@dataclass(frozen=True)
class Published:
    """A number or a statement as published.

    Args:
        value: As it stands there.
        source: Where it stands: section, figure, table.
        verified: Whether it was read there; False: quoted from memory, and so to be shown.
        curves: Of arms of the claim's study: the published value at values of the study's last other axis.
        unit: Of the curves' values: the title of their axis.
        setting: What they are of.
    """

    value: str
    source: str
    verified: bool = True
    curves: Mapping[str, Mapping[float, float]] = field(default_factory=dict)
    unit: str = ""
    setting: str = ""


@dataclass(frozen=True)
class Quantity:
    """A measured number with its interval; a computed one has the interval [value, value].

    Args:
        value: The number, or the mean over seeds.
        low: Lower end of its interval; NaN: there is none.
        high: Upper end.
        n: Seeds.
    """

    value: float
    low: float
    high: float
    n: int = 1

    @classmethod
    def exact(cls, value: float) -> Quantity:
        """A number that is computed, not sampled."""
        return cls(float(value), float(value), float(value))

    @classmethod
    def over_seeds(cls, values: Sequence[float]) -> Quantity:
        """Mean of one value a seed, with its interval by Student's t at LEVEL."""
        import numpy as np

        from normbench.stats import mean_interval

        low, high, _ = mean_interval(np.asarray(values, dtype=float), LEVEL)
        return cls(float(np.mean(values)), low, high, len(values))

    def less(self, published: float) -> Quantity:
        """How far it lies above a published number, which counts as exact."""
        return replace(self, value=self.value - published, low=self.low - published, high=self.high - published)


@dataclass(frozen=True)
class Bound:
    """One part of a criterion: where a quantity has to lie for the claim to hold.

    Args:
        quantity: Name of the quantity, as the experiment returns it and a reader sees it.
        low: Lower bound; the quantity's interval has to lie above it.
        high: Upper bound, likewise.
    """

    quantity: str
    low: float = -math.inf
    high: float = math.inf

    @property
    def text(self) -> str:
        """`slope between 1.17 and 1.25`, `difference above 0.05`."""
        if math.isinf(self.low):
            return f"{self.quantity} below {self.high:g}"
        if math.isinf(self.high):
            return f"{self.quantity} above {self.low:g}"
        return f"{self.quantity} between {self.low:g} and {self.high:g}"

    @property
    def place(self) -> str:
        """What the part is asked of: what stands before the quantity's colon, else the quantity."""
        return self.quantity.partition(": ")[0]

    def verdict(self, found: Quantity) -> Verdict:
        """The interval lies inside: reproduced; outside: contradicted; neither, or none: open."""
        if self.low < found.low and found.high < self.high:
            return "reproduced"
        if found.high <= self.low or found.low >= self.high:
            return "contradicted"
        return "open"

    def seeds(self, found: Quantity) -> int | None:
        """Seeds that would decide it if the mean stays; None where there are none, or more than MOST_SEEDS."""
        from scipy.stats import t

        distance = min(abs(found.value - edge) for edge in (self.low, self.high))
        if found.n < 2 or not found.high > found.low or not 0 < distance < math.inf:
            return None
        level = (1 + LEVEL) / 2
        spread = (found.high - found.low) / 2 * math.sqrt(found.n) / t.ppf(level, found.n - 1)
        fits = (n for n in range(found.n + 1, MOST_SEEDS + 1) if t.ppf(level, n - 1) * spread / math.sqrt(n) < distance)
        return next(fits, None)


@dataclass(frozen=True)
class Outcome:
    """What an experiment gave.

    Args:
        quantities: Those of the criterion, and others that a reader should see.
        detail: What the figure shows: of the claim's plot a row a point, of a study's curve a row a run.
    """

    quantities: Mapping[str, Quantity]
    detail: pd.DataFrame | None = None


@dataclass(frozen=True)
class Plot:
    """How the detail is drawn: lines of `y` against `x`, one for each value of `series`.

    Args:
        x: Column; words keep the order of the rows.
        y: Column.
        series: Column; a value that begins with "published" is drawn dashed.
        log: Which axes are logarithmic.
        caption: What to see in it.
        facet: Column with a panel for each value; "": one panel.
    """

    x: str
    y: str
    series: str
    log: Literal["", "x", "y", "xy"] = ""
    caption: str = ""
    facet: str = ""


@dataclass(frozen=True)
class Computation:
    """A direct computation.

    Args:
        measure: Gives its outcome.
        seconds: Roughly how long it takes on one core.
    """

    measure: Callable[[], Outcome]
    seconds: float = 1.0


@dataclass(frozen=True)
class StudyExperiment:
    """A study that is trained.

    Args:
        study: File in `studies/`, without its suffix.
        measure: Gives the quantities from its finished runs.
        detail: Gives what the claim's plot shows; None: a study with another axis than the compared one shows its
            metric against that.
    """

    study: str
    measure: Callable[[Evidence], Mapping[str, Quantity]]
    detail: Callable[[Evidence], pd.DataFrame] | None = None


@dataclass(frozen=True)
class Finding:
    """A published claim.

    Args:
        id: Short name, e.g. "A7".
        cite: Paper, with section, figure or table.
        claim: In one sentence.
        published: Numbers or statements as published.
        experiment: How it is put to the test.
        criterion: Where the quantities have to lie; all of them for "reproduced", one outside for "contradicted".
        tier: 0: a computation of seconds; 1: a large effect, five seeds; 2: a moderate one; 3: likely none.
        differs: How the setting differs from the source's.
        note: What a reader should know of the outcome.
        earlier: Criteria and settings that were given up, each with the reason and what it gave.
        plot: How the detail is drawn.
    """

    id: str
    cite: str
    claim: str
    published: tuple[Published, ...]
    experiment: Computation | StudyExperiment
    criterion: tuple[Bound, ...]
    tier: int
    differs: str
    note: str = ""
    earlier: tuple[str, ...] = ()
    plot: Plot | None = field(default=None)

    @property
    def command(self) -> str:
        """What reproduces the verdict."""
        return f"normbench findings run {self.id}"

    def verdict(self, quantities: Mapping[str, Quantity]) -> Verdict:
        """One part of the criterion contradicted: contradicted; else one open: open; else reproduced."""
        found = [bound.verdict(quantities[bound.quantity]) for bound in self.criterion]
        if "contradicted" in found:
            return "contradicted"
        return "open" if "open" in found else "reproduced"

    def seeds(self, quantities: Mapping[str, Quantity]) -> int | None:
        """Seeds that would decide an open verdict, if the means stay; None where that cannot be told."""
        needed = [
            bound.seeds(quantities[bound.quantity])
            for bound in self.criterion
            if bound.verdict(quantities[bound.quantity]) == "open"
        ]
        known = [count for count in needed if count is not None]
        return max(known) if needed and len(known) == len(needed) else None
