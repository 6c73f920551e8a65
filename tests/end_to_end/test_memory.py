"""Memory that runs out: a control group with a limit, beyond which the kernel kills."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from .processes import end, metrics, results, start, write_study
from .test_work import with_plugin

pytestmark = pytest.mark.slow

LIMIT = 300_000_000  # bytes beside what a process had before it came into the group
GROUPS = {"/sys/fs/cgroup/memory": "memory.limit_in_bytes", "/sys/fs/cgroup": "memory.max"}  # of versions 1 and 2


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group of its own, whose processes share LIMIT bytes. Only root can make one."""
    place = next((made for made in map(limited, GROUPS) if made is not None), None)
    if place is None:
        pytest.skip("no control group with a limit on memory can be made here")
    yield place
    place.rmdir()


def limited(top: str) -> Path | None:
    """A new group below `top`; None where there can be none."""
    place = Path(top, f"normbench-{os.getpid()}")
    try:
        place.mkdir()
    except OSError:
        return None
    try:
        (place / GROUPS[top]).write_text(str(LIMIT))
    except OSError:
        place.rmdir()
        return None
    return place


def kills(group: Path) -> int:
    """How many processes of the group the kernel has killed."""
    for name in ("memory.oom_control", "memory.events"):
        with suppress(FileNotFoundError):
            words = dict(line.split() for line in (group / name).read_text().splitlines())
            return int(words["oom_kill"])
    raise AssertionError("the group does not count")


EAT = """
            self.told, place = self.told + 1, os.environ.get('GROUP')
            if place and self.told > 60 and not os.path.exists(os.environ['EATEN']):
                open(os.environ['EATEN'], 'w').close()
                open(place + '/cgroup.procs', 'w').write(str(os.getpid()))
                eaten = [bytes(range(256)) * 40_000 for _ in range(1_000)]  # 10 GB
"""


def test_a_worker_that_the_kernel_kills_for_memory_costs_its_run_another_try(group: Path, tmp_path: Path) -> None:
    study, runs = write_study(tmp_path, "memory", 100), tmp_path / "runs"
    with_plugin(study, EAT.strip())
    hungry = {"GROUP": str(group), "EATEN": str(tmp_path / "eaten")}
    status, _, err = end(start("run", study, "--workers", 1, "--runs", runs, **hungry), 240)
    assert status == 0, err
    assert kills(group) == 1
    assert err.count("its worker was ended by SIGKILL; continuing from its last checkpoint") == 1
    assert end(start("run", study, "--workers", 1, "--runs", tmp_path / "rich"), 240)[0] == 0
    assert len(results(runs)) == 2
    assert metrics(runs) == metrics(tmp_path / "rich")
