"""The generated answer never says more than the verdicts that it is built from."""

import re

import pytest

from .conftest import NOISE, Lab, MakeLab

GRID = {"model.norm": ["none", "batch", "group"], "data.batch_size": [8, 32]}


def jitter(cell: dict, seed: int, size: float) -> float:
    """Noise that a norm has for itself, so that paired differences vary."""
    own = {"none": 3, "batch": 0, "group": 7}[cell["model.norm"]] + cell["data.batch_size"]
    return size * NOISE[(seed * 3 + own) % 10] / 0.003 if own not in (8, 32) else 0.0


CASES = {
    "all told apart": (
        5,
        lambda c, s: {"none": 0.90, "batch": 0.95, "group": 0.97}[c["model.norm"]] + jitter(c, s, 5e-4),
    ),
    "none": (3, lambda c, s: 0.95 + jitter(c, s, 0.02)),
    "equivalent": (8, lambda c, s: 0.95 + jitter(c, s, 5e-4)),
    "mixed": (
        5,
        lambda c, s: 0.95 - 0.04 * (c["model.norm"] == "none" and c["data.batch_size"] == 8) + jitter(c, s, 4e-3),
    ),
    "one seed": (1, lambda c, s: {"none": 0.80, "batch": 0.95, "group": 0.97}[c["model.norm"]]),
    "diverged": (3, lambda c, s: "diverged" if c["model.norm"] == "none" else 0.95 + jitter(c, s, 1e-3)),
    "unfinished": (3, lambda c, s: 0.95 if s == 0 or c["model.norm"] == "batch" else None),
}
WORDS = {"all told apart": {"better", "worse"}, "equivalent": {"Equivalent"}, "none": {"not distinguishable"}}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, make_lab: MakeLab) -> tuple[str, Lab]:
    seeds, outcome = CASES[request.param]
    return request.param, make_lab(outcome, GRID, seeds=seeds)


def test_every_comparison_is_told_as_its_verdict(case: tuple[str, Lab]) -> None:
    name, lab = case
    evidence = lab.evidence()
    pairs = evidence.pairs
    told, equal, open_ = (
        pairs[pairs["verdict"].str.match(pattern)] for pattern in ("better|worse", "equivalent", "not distinguishable")
    )
    assert len(told) + len(equal) + len(open_) == len(pairs)
    apart = evidence.answer[0]
    for verdict in ("better", "worse"):
        part = re.search(rf"{verdict} test accuracy than batch: (.*?)(?:\. And |\.$)", apart)
        said = re.findall(r"(\w+ at batch_size \d+)", part[1]) if part else []
        rows = told[told["verdict"] == verdict]
        assert said == [f"{row['norm']} at batch_size {row['batch_size']}" for row in rows.to_dict("records")]
    text = " ".join(evidence.answer)
    assert ("Told apart" in text) == bool(len(told))
    assert ("Nothing can be told apart" in text) == (not len(told))
    assert ("Equivalent" in text) == bool(len(equal))
    assert (f"{len(open_)} of {len(pairs)} comparisons" in text) == bool(len(open_))
    for row in equal.to_dict("records"):
        assert f"{row['norm']} at batch_size {row['batch_size']}" in next(t for t in evidence.answer if "Equival" in t)
    assert WORDS.get(name, set()) <= {
        word for word in ("better", "worse", "Equivalent", "not distinguishable") if word in text
    }
    assert 1 <= len(evidence.answer) <= 3


def test_names_family_correction_interval_and_seeds(make_lab: MakeLab) -> None:
    seeds, outcome = CASES["mixed"]
    answer = make_lab(outcome, GRID, seeds=seeds).evidence().answer
    assert "4 paired comparisons with batch, corrected by Holm" in answer[0]
    assert re.search(r"none at batch_size 8 \(-\d\.\d\d points, 95 % interval -\d\.\d\d to -\d\.\d\d\)", answer[0])
    assert re.search(
        r"not distinguishable with 5 seeds: to find a difference of 0.5 points, (they|it) would need", answer[-1]
    )


def test_one_seed_says_one_seed(make_lab: MakeLab) -> None:
    seeds, outcome = CASES["one seed"]
    answer = make_lab(outcome, GRID, seeds=seeds).evidence().answer
    assert answer == [
        "Nothing can be told apart in test accuracy (4 paired comparisons with batch, corrected by Holm).",
        "4 of 4 comparisons are not distinguishable with 1 seed.",
    ]


def test_lower_is_better_for_a_loss(make_lab: MakeLab) -> None:
    seeds, outcome = CASES["all told apart"]
    answer = make_lab(outcome, GRID, {"metric": "test_nll", "margin": 0.01}, seeds=seeds).evidence().answer[0]
    better, worse = answer.split(" And ")
    assert "better test negative log-likelihood than batch: group at batch_size 8 (-" in better
    assert worse.startswith("worse test negative log-likelihood than batch: none at batch_size 8 (+")


def test_too_many_for_a_sentence_are_counted(make_lab: MakeLab) -> None:
    sizes = [1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 64]
    lab = make_lab(
        lambda c, s: 0.95 - (0.1 + NOISE[(s + c["data.batch_size"]) % 10] / 10) * (c["model.norm"] == "none"),
        {"model.norm": ["none", "group"], "data.batch_size": sizes},
        {"baseline": "group"},
        seeds=6,
    )
    assert "worse test accuracy than group: none in 14 of 14 cells." in lab.evidence().answer[0]
