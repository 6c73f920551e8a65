"""How many cores there are: a container's quota counts, which the system's own count leaves out."""

import math
import os
from pathlib import Path

import pytest

from normbench import machine


def made(root: Path, groups: str, **files: str) -> Path:
    """A folder with proc/self/cgroup and the files of control groups."""
    for name, text in {"proc/self/cgroup": groups, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


V2, V1 = "0::/\n", "9:name=systemd:/\n4:memory:/docker/1\n3:cpuset:/docker/1\n2:cpu,cpuacct:/docker/1\n0::/\n"
JOB = "0::/user.slice/job_7/step_0\n"


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        (V2, {"cpu.max": "200000 100000\n"}, 2.0),
        (V2, {"cpu.max": "150000 100000\n"}, 1.5),
        (V2, {"cpu.max": "max 100000\n"}, math.inf),
        (V2, {}, math.inf),
        # The group above limits, too.
        (JOB, {"user.slice/job_7/cpu.max": "300000 100000\n", "user.slice/job_7/step_0/cpu.max": "max 100000\n"}, 3.0),
        (JOB, {"user.slice/cpu.max": "300000 100000\n", "user.slice/job_7/step_0/cpu.max": "50000 100000\n"}, 0.5),
        (V1, {"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4.0),
        (V1, {"cpu/docker/1/cpu.cfs_quota_us": "70000\n", "cpu/docker/1/cpu.cfs_period_us": "100000\n"}, 0.7),
        (V1, {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, math.inf),
    ],
)
def test_the_quota_of_a_container(groups: str, files: dict[str, str], expected: float, tmp_path: Path) -> None:
    root = made(tmp_path, groups, **{f"sys/fs/cgroup/{name}": text for name, text in files.items()})
    assert machine.quota(root) == expected


def test_without_control_groups_there_is_no_quota(tmp_path: Path) -> None:
    assert machine.quota(tmp_path) == math.inf


@pytest.mark.parametrize(("quota", "cores"), [(2.0, 2), (1.5, 2), (0.2, 1), (64.0, 8), (math.inf, 8)])
def test_cores_are_those_that_it_may_run_on_within_the_quota(
    quota: float, cores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr(machine, "quota", lambda: quota)
    assert machine.cores() == cores
