"""Disks that are full or can only be read: real ones, small file systems in memory."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .processes import end, metrics, results, start, start_words, write_study

pytestmark = pytest.mark.slow

Remount = Callable[[str], None]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[tuple[Path, Remount]]:
    """A file system of 1 MB of its own, and what changes its options. Only root can make one."""
    place = tmp_path / "disk"
    place.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(place)]
    if not sys.platform.startswith("linux") or os.geteuid() or subprocess.run(words, check=False).returncode:
        pytest.skip("no file system can be mounted here")

    def remount(options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", str(place)], check=True)

    yield place, remount
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_full_disk_is_one_line_and_with_more_space_the_same_command_goes_on(
    disk: tuple[Path, Remount], tmp_path: Path
) -> None:
    place, remount = disk
    study = write_study(tmp_path, "full", 200)
    status, _, err = end(start("run", study, "--workers", 1, "--runs", place))
    assert status == 1, err
    line = err.strip().splitlines()[-1]
    assert line.startswith(f"normbench: error: cannot write {place}/")
    assert line.endswith("No space left on device; free some space or name another folder (--runs, --reports)")
    assert "Traceback" not in err
    assert not results(place)
    remount("size=64m")
    assert end(start("run", study, "--workers", 1, "--runs", place))[0] == 0
    assert not [path for path in place.rglob("*") if path.suffix in {".tmp", ".new"}], "nothing is left lying about"
    assert end(start("run", study, "--workers", 1, "--runs", tmp_path / "whole"))[0] == 0
    assert len(metrics(place)) == 2
    assert metrics(place) == metrics(tmp_path / "whole")


def test_a_folder_that_can_only_be_read_is_named_before_anything_is_trained(
    disk: tuple[Path, Remount], tmp_path: Path
) -> None:
    place, remount = disk
    remount("size=64m")
    study = write_study(tmp_path, "read", 10)
    assert end(start("run", study, "--workers", 1, "--runs", place, "--only", "optimizer.lr=0.01"))[0] == 0
    remount("ro")
    before = sorted(place.rglob("*"))
    for command in ("run", "work"):
        status, _, err = end(start(command, study, "--runs", place))
        assert (status, len(err.splitlines())) == (1, 1)
        assert err.startswith(f"normbench: error: cannot write {place}")
    status, out, err = end(start("status", study, "--runs", place, "--only", "optimizer.lr=0.01"))
    assert (status, err) == (0, "")
    assert "1 done" in out
    assert sorted(place.rglob("*")) == before


def test_a_limit_on_the_size_of_files_is_as_a_full_disk(tmp_path: Path) -> None:
    """What a quota does, and what every user can try."""
    study, runs = write_study(tmp_path, "limit", 200), tmp_path / "runs"
    code = (
        "import resource, signal, sys\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, {resource.RLIM_INFINITY}))\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "from normbench.__main__ import main\n"
        "main()\n"
    )
    # Workers are made by the same interpreter and inherit the limit.
    process = start_words([sys.executable, "-c", code, "run", str(study), "--workers", "1", "--runs", str(runs)])
    status, _, err = end(process)
    assert status == 1, err
    assert "cannot write" in err.splitlines()[-1]
    assert "File too large" in err.splitlines()[-1]
    assert not results(runs)
    assert end(start("run", study, "--workers", 1, "--runs", runs))[0] == 0
    assert len(results(runs)) == 2
