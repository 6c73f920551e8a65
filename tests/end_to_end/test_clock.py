"""A clock that jumps while a study is trained: clock.c, loaded into every process, sets what they read from it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .processes import end, metrics, results, start, until, write_study

pytestmark = pytest.mark.slow

DAY = 86_400
JUMPS = (400 * DAY, -400 * DAY, 3_600, -3_600, 0)  # seconds


@pytest.fixture
def clock(tmp_path: Path) -> dict[str, str]:
    """Environment of processes whose clock is wrong by what the file of CLOCK_FILE says."""
    if not sys.platform.startswith("linux") or not shutil.which("cc"):
        pytest.skip("needs a C compiler and Linux")
    library, file = tmp_path / "clock.so", tmp_path / "clock"
    source = Path(__file__).with_name("clock.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source)], check=True)
    set_clock(file, 0)
    return {"LD_PRELOAD": str(library), "CLOCK_FILE": str(file)}


def set_clock(file: Path, seconds: int) -> None:
    with file.open("r+b" if file.exists() else "wb") as opened:  # in place: it is mapped
        opened.write(seconds.to_bytes(8, sys.byteorder, signed=True))


def test_the_clock_can_be_set(clock: dict[str, str]) -> None:
    """Otherwise the test below tests nothing."""
    set_clock(Path(clock["CLOCK_FILE"]), 400 * DAY)
    code = "import time, datetime; print(time.time(), datetime.datetime.now().timestamp(), time.monotonic())"
    said = subprocess.run([sys.executable, "-c", code], env=clock, check=True, capture_output=True, text=True).stdout
    one, other, monotonic = map(float, said.split())
    assert min(one, other) - time.time() > 399 * DAY
    assert abs(monotonic - time.monotonic()) < DAY


def test_a_clock_that_jumps_to_and_fro_changes_nothing(clock: dict[str, str], tmp_path: Path) -> None:
    study, runs = write_study(tmp_path, "jumps", 400), tmp_path / "runs"
    # Two commands, so that locks and waiting for the other one's run see the jumps, too.
    first = start("run", study, "--workers", 1, "--runs", runs, **clock)
    until(lambda: list(runs.glob("*/metrics.csv")), first)
    second = start("run", study, "--workers", 1, "--runs", runs, **clock)
    jumps, deadline = 0, time.monotonic() + 240
    while (first.poll() is None or second.poll() is None) and time.monotonic() < deadline:
        set_clock(Path(clock["CLOCK_FILE"]), JUMPS[jumps % len(JUMPS)])
        jumps += 1
        time.sleep(0.2)
    for process in (first, second):
        status, _, err = end(process)
        assert status == 0, err
        assert "again: " not in err, "no run was lost"
    assert jumps > 10, "it jumped while they trained"
    assert end(start("run", study, "--workers", 1, "--runs", tmp_path / "still"))[0] == 0
    assert len(results(runs)) == 2
    assert metrics(runs) == metrics(tmp_path / "still")
    assert all(0 < result["seconds"] < 600 for result in results(runs).values()), "durations do not jump"
