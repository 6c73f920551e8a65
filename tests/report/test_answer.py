"""The generated answer never says more than the verdicts that it is built from."""

import re

import pytest

from normbench.store import RunFolder

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


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, make_lab: MakeLab) -> tuple[str, Lab]:
    seeds, outcome = CASES[request.param]
    return request.param, make_lab(outcome, GRID, seeds=seeds)


CLAUSES = {
    "better": r"is better by (?!\S+ points, less)",
    "worse": r"is worse by (?!\S+ points, less)",
    "equivalent": r"is equivalent within 0.5 points",
    "diverged": r"diverged \(",
    "open": r"is not told apart",
    "better by less than the margin": r"is better by [^,]* points, less than 0.5 points,",
    "worse by less than the margin": r"is worse by [^,]* points, less than 0.5 points,",
    "identical": r"is identical",
}


def test_every_comparison_is_told_as_its_verdict(case: tuple[str, Lab]) -> None:
    """A clause for each level counts its cells by verdict, and names no verdict that no cell has."""
    _, lab = case
    evidence = lab.evidence()
    sentence = evidence.answer[0]
    head, _, rest = sentence.partition(": ")
    assert head == "Compared with batch in test accuracy"
    clauses = {clause.partition(" ")[0]: clause for clause in rest.removesuffix(".").split("; ")}
    assert set(clauses) == {"none", "group"}
    for level, rows in evidence.pairs.groupby("norm"):
        for verdict, pattern in CLAUSES.items():
            count = int((rows["verdict"] == verdict).sum())
            found = re.search(rf"{pattern}.*?in (every cell|\d+ of \d+ cells?)", clauses[level])
            assert bool(count) == bool(found), (level, verdict, clauses[level])
            if found:
                assert found[1] == ("every cell" if count == len(rows) else f"{count} of {len(rows)} cells")


def test_sizes_are_those_of_the_table(make_lab: MakeLab) -> None:
    seeds, outcome = CASES["all told apart"]
    evidence = make_lab(outcome, GRID, seeds=seeds).evidence()
    rows = evidence.pairs[evidence.pairs["norm"] == "none"]
    sizes = sorted(f"{abs(value) * 100:.2f}" for value in rows["diff"])
    assert f"none is worse by {' to '.join(dict.fromkeys(sizes))} points in every cell" in evidence.answer[0]


def test_names_family_error_term_and_seeds(make_lab: MakeLab) -> None:
    seeds, outcome = CASES["mixed"]
    answer = make_lab(outcome, GRID, seeds=seeds).evidence().answer
    assert answer[1] == (
        "The verdicts are read off 95 % intervals that hold for all of them at once (family of 4; paired t by seed)."
    )
    assert re.search(
        r"open with 5 seeds: to find a difference of 0.5 points, \d+( to [\d,]+| to more than 1,000)? seeds would",
        answer[2],
    )


def test_below_five_seeds_the_variance_is_shrunk(make_lab: MakeLab) -> None:
    seeds, outcome = CASES["none"]
    evidence = make_lab(outcome, GRID, seeds=seeds).evidence()
    assert set(evidence.pairs["error"]) == {"shrunk"}
    assert "each variance shrunk to its cell's" in evidence.answer[1]


def test_one_seed_says_one_seed(make_lab: MakeLab) -> None:
    seeds, outcome = CASES["one seed"]
    answer = make_lab(outcome, GRID, seeds=seeds).evidence().answer
    assert "none is not told apart in every cell; group is not told apart in every cell." in answer[0]
    assert answer[2] == "4 of 4 comparisons are open with 1 seed."


def test_a_lone_comparison_has_its_interval(make_lab: MakeLab) -> None:
    lab = make_lab(
        lambda c, s: {"none": 0.90, "batch": 0.95}[c["model.norm"]] + NOISE[s] * (c["model.norm"] == "none"),
        {"model.norm": ["none", "batch"]},
        seeds=5,
    )
    pattern = r"none is worse \(-\d\.\d\d points, 95 % interval -\d\.\d\d to -\d\.\d\d\)\."
    evidence = lab.evidence()
    assert re.search(pattern, evidence.answer[0])
    assert "read off its 95 % interval (family of 1;" in evidence.answer[1]
    assert len(evidence.answer) == 2


def test_lower_is_better_for_a_loss(make_lab: MakeLab) -> None:
    seeds, outcome = CASES["all told apart"]
    answer = make_lab(outcome, GRID, {"metric": "test_nll", "margin": 0.01}, seeds=seeds).evidence().answer[0]
    assert "in test negative log-likelihood: none is worse by 0." in answer
    assert "group is better by 0." in answer


def test_without_a_margin_nothing_is_equivalent(make_lab: MakeLab) -> None:
    seeds, outcome = CASES["equivalent"]
    evidence = make_lab(outcome, GRID, {"metric": "test_nll"}, seeds=seeds).evidence()
    assert "equivalent" not in set(evidence.pairs["verdict"])
    assert "without a margin (compare.margin) no number of seeds can be named" in " ".join(evidence.answer)


def test_identical_runs_are_identical(make_lab: MakeLab) -> None:
    evidence = make_lab(lambda c, s: 0.95 + NOISE[s], {"model.norm": ["batch", "sync_batch"]}, seeds=3).evidence()
    assert evidence.answer[0].endswith("sync_batch is identical in all 3 seeds.")
    assert "open" not in " ".join(evidence.answer)


def test_a_diverged_norm_is_neither_better_nor_equivalent(make_lab: MakeLab) -> None:
    """Survivors of a norm that diverges may look better: the answer says that it diverged."""

    def outcome(cell: dict, seed: int) -> float | str:
        if cell["model.norm"] == "none":
            return "diverged" if seed < 2 else 0.99 + NOISE[seed]
        return 0.95 + NOISE[seed]

    evidence = make_lab(outcome, {"model.norm": ["none", "batch"]}, seeds=5).evidence()
    assert evidence.answer[0].endswith("none diverged in 2 of 5 runs.")
    assert evidence.pairs["plan_reason"].tolist() == ["diverged"]


def test_an_unfinished_study_says_what_is_done_and_when_to_come_back(make_lab: MakeLab) -> None:
    lab = make_lab(lambda c, s: 0.9 + NOISE[s] if s == 0 else "failed" if c["model.norm"] == "none" else None)
    told = lab.evidence().answer[-1]
    command = "normbench run synthetic.yaml"
    assert told == f"Interim: 6 of 18 runs are done, 4 failed, and none is running; to go on: {command}"
    waiting = next(run for run in lab.planned() if run.seed == 1 and run.cell["model.norm"] == "group")
    with RunFolder(lab.runs / waiting.id).claim():
        told = lab.evidence().answer[-1]
    assert re.fullmatch(
        r"Interim: 6 of 18 runs are done, 4 failed, 1 running: come back in about \d+ (s|minutes|hours)\.", told
    )


def test_a_number_keeps_its_axis(make_lab: MakeLab) -> None:
    lab = make_lab(
        lambda c, s: 0.9 + NOISE[s], {"data.batch_size": [8, 32]}, {"factor": "data.batch_size", "baseline": 8}
    )
    assert lab.evidence().answer[0].startswith("Compared with batch_size 8 in test accuracy: batch_size 32 is ")
