"""The one rule of verdicts: an interval against bounds that were fixed before."""

import math

import pytest

from normbench.findings import Bound, Computation, Finding, Outcome, Quantity, all_findings


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(1.1, 1.2, "reproduced"), (0.9, 1.1, "open"), (0.5, 0.9, "contradicted"), (math.nan, math.nan, "open")],
)
def test_an_interval_against_a_lower_bound(low: float, high: float, verdict: str) -> None:
    assert Bound("x", low=1.0).verdict(Quantity((low + high) / 2, low, high, 5)) == verdict


def test_an_interval_that_reaches_over_both_bounds_is_open() -> None:
    bound = Bound("x", -1.0, 1.0)
    assert bound.verdict(Quantity(0.0, -2.0, 2.0, 5)) == "open"
    assert bound.verdict(Quantity.exact(0.5)) == "reproduced"
    assert bound.verdict(Quantity.exact(1.5)) == "contradicted"


def test_the_seeds_that_would_decide_are_the_first_that_fit() -> None:
    """By hand: ten values with mean 0 and sd 1; the bound is 0.5 away, and 18 seeds give half a width below it."""
    values = [1.0, -1.0] * 5
    found = Quantity.over_seeds(values)
    needed = Bound("x", low=-0.5).seeds(found)
    assert needed is not None
    from scipy.stats import t

    sd = (sum(v * v for v in values) / 9) ** 0.5
    half = [t.ppf(0.975, n - 1) * sd / n**0.5 for n in (needed - 1, needed)]
    assert half[1] < 0.5 <= half[0]
    assert Bound("x", low=0.0).seeds(found) is None  # no number of seeds tells a mean from itself


def test_a_published_number_moves_the_whole_interval() -> None:
    assert Quantity(0.5, 0.25, 0.75, 5).less(0.5) == Quantity(0.0, -0.25, 0.25, 5)


def finding(*criterion: Bound) -> Finding:
    return Finding("Z1", "", "", (), Computation(lambda: Outcome({})), criterion, 0, "")


def test_one_contradicted_part_contradicts_the_claim() -> None:
    claim = finding(Bound("a", low=0.0), Bound("b", low=0.0), Bound("c", low=0.0))
    found = {"a": Quantity.exact(1), "b": Quantity(0, -1, 1, 5), "c": Quantity.exact(1)}
    assert claim.verdict(found) == "open"
    assert claim.verdict({**found, "c": Quantity.exact(-1)}) == "contradicted"
    assert claim.verdict({**found, "b": Quantity.exact(1)}) == "reproduced"


@pytest.mark.parametrize("claim", all_findings().values(), ids=lambda claim: claim.id)
def test_a_claim_is_complete(claim: Finding) -> None:
    assert claim.claim.endswith(".")
    assert claim.cite
    assert claim.published
    assert claim.criterion
    assert claim.differs.endswith(".")
    for bound in claim.criterion:
        assert bound.low < bound.high
        assert not (math.isinf(bound.low) and math.isinf(bound.high)), "a bound that nothing can miss"
