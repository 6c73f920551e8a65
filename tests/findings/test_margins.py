import math

import pytest

from normbench.findings.finding import Bound, Quantity
from normbench.findings.margins import margins_chart
from normbench.findings.summary import COLORS

LOSS = Quantity(0.02, 0.01, 0.04, 5)


def values(row):
    """The domain of a row's axis, and what its shade, its line and its dot are drawn at."""
    shade, line, dot = row["layer"]
    numbers = [layer["data"]["values"][0] for layer in (shade, line, dot)]
    return shade["encoding"]["x"]["scale"]["domain"], *numbers


def row_of(bound, found):
    chart = margins_chart([(bound, found)])
    assert chart is not None
    (row,) = chart.to_dict(context={"datasets": {}})["vconcat"]
    return row


@pytest.mark.parametrize(
    ("bound", "shade"),
    [
        (Bound("loss", low=0.03), (0.03, "last")),
        (Bound("loss", high=0.03), ("first", 0.03)),
        (Bound("loss", low=-0.01, high=0.03), (-0.01, 0.03)),
        (Bound("loss", low=0.2), (0.2, "last")),
    ],
)
def test_the_shade_is_where_the_claim_asks_it_to_lie(bound, shade, monkeypatch):
    monkeypatch.setattr("altair.data_transformers.consolidate_datasets", False)
    (first, last), asked, seen, dot = values(row_of(bound, LOSS))
    ends = {"first": first, "last": last}
    assert (asked["low"], asked["high"]) == tuple(ends.get(end, end) for end in shade)
    assert (seen["low"], dot["value"], seen["high"]) == (0.01, 0.02, 0.04)
    finite = [edge for edge in (bound.low, bound.high) if math.isfinite(edge)]
    assert first < min(0.01, *finite)
    assert last > max(0.04, *finite)


@pytest.mark.parametrize(
    ("bound", "verdict"),
    [(Bound("x", low=0), "reproduced"), (Bound("x", low=0.05), "contradicted"), (Bound("x", low=0.02), "open")],
)
def test_the_colour_is_that_of_the_verdict(bound, verdict):
    _, line, dot = row_of(bound, LOSS)["layer"]
    assert line["mark"]["color"] == dot["mark"]["color"] == COLORS[verdict]


def test_what_has_no_interval_is_not_drawn():
    computed, lost = (Bound("a", low=0), Quantity.exact(3)), (Bound("b", low=0), Quantity(0.1, math.nan, math.nan, 5))
    assert margins_chart([computed, lost]) is None
    chart = margins_chart([computed, (Bound("c", low=0), LOSS)])
    assert chart is not None
    assert [row.title.text for row in chart.vconcat] == [["c above 0"]]
