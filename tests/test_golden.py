"""Short runs of every norm on every model give the recorded numbers, to every digit."""

import json

import golden
import pytest

from tests.conftest import REPOSITORY

RECORDED = json.loads(golden.RECORDED.read_text(encoding="utf-8"))
SHORT = [name for name in golden.cases() if name.endswith(("/single", "/adam", "/adamw", "/warmup"))]
LONG = [name for name in golden.cases() if name not in SHORT]


@pytest.fixture(scope="module")
def exact() -> bool:
    """Whether this machine's libraries are those that the numbers were recorded with."""
    return bool(golden.fingerprint() == RECORDED["made with"])


def _held(names: list[str], exact: bool) -> None:
    found = golden.run_all(REPOSITORY, names)
    recorded = {name: RECORDED["runs"][name] for name in names}
    if exact:
        assert golden.differences(recorded, found) == []
        return
    # Another torch rounds in another order: the same steps, so the first losses agree to float32's digits.
    for name in names:
        first = [next(float(p[3]) for p in run[name]["points"] if p[1] == "train") for run in (recorded, found)]
        assert first[0] == pytest.approx(first[1], rel=1e-5), name


def test_short_runs_hold(exact: bool) -> None:
    _held(SHORT, exact)


@pytest.mark.slow
def test_processes_virtual_devices_accumulation_dropout_and_resume_hold(exact: bool) -> None:
    _held(LONG, exact)


def test_every_case_is_recorded() -> None:
    assert list(RECORDED["runs"]) == list(golden.cases())


def test_a_changed_digit_is_seen() -> None:
    changed = json.loads(json.dumps(RECORDED["runs"]))
    point = changed[SHORT[0]]["points"][0]
    point[3] = point[3][:-1] + ("1" if point[3][-1] != "1" else "2")
    assert [line.split(":")[0] for line in golden.differences(RECORDED["runs"], changed)] == [SHORT[0]]
